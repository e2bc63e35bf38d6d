"""The rows of the scheduler's batches, and the delivery of embeddings to their requests."""

from __future__ import annotations

import queue
import random
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from tests.unit.scheduling import (
    Allowance,
    Batch,
    Row,
    first_ids,
    lengths,
    make_request,
    make_scheduler,
    take,
)


def test_rows_of_several_requests_share_a_batch_and_each_gets_its_own_embeddings() -> None:
    scheduler = make_scheduler()
    requests = [make_request(3, 5, first_id=1), make_request(4, first_id=7)]
    assert not scheduler.add(*requests)
    batch = scheduler.take()
    input_ids, pooled, row = batch.tokens()
    assert input_ids.shape == pooled.shape == row.shape == (12,)
    complete = batch.deliver(first_ids(batch))
    assert set(complete) == set(requests)
    assert requests[0].embeddings.tolist() == [[1], [2]]
    assert requests[1].embeddings.tolist() == [[7]]


def test_a_request_beyond_one_batch_is_complete_with_its_last_row() -> None:
    scheduler = make_scheduler(batch_tokens=32)
    request = make_request(*[16] * 5)
    scheduler.add(request)
    complete = []
    for _ in range(3):
        batch = take(scheduler)
        complete.append(batch.deliver(np.ones((len(batch.rows), 2), np.float32)))
    assert complete == [[], [], [request]]


def test_rows_that_are_known_are_there_from_the_start_and_have_no_turn() -> None:
    scheduler = make_scheduler(waiting_rows=3)
    request = make_request(3, 4, 5, known={1: np.array([9.0], np.float32)})
    scheduler.add(make_request(60))
    assert not scheduler.add(request)
    assert scheduler.waiting("query") == 3
    take(scheduler)
    batch = take(scheduler)
    assert [row.place for row in batch.rows] == [0, 2]
    assert batch.deliver(first_ids(batch)) == [request]
    assert request.embeddings.tolist() == [[1], [9], [3]]


def test_a_request_that_is_known_whole_is_complete_from_the_start() -> None:
    request = make_request(3, 4, known={0: np.array([8.0], np.float32), 1: np.array([9.0], np.float32)})
    assert not request.unknown
    assert request.embeddings.tolist() == [[8], [9]]


def test_batches_of_one_request_that_come_back_together_all_count() -> None:
    def deliver(batch: Any) -> None:
        embeddings = np.full((1, 256), batch.rows[0].place, np.float32)
        together.wait(10)
        complete.extend(batch.deliver(embeddings))

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads switch at any point
    try:
        for _ in range(1000):
            request = make_request(4, 4, 4)
            batches = [Batch([Row(request, place, 4, 0)]) for place in range(3)]
            together, complete = threading.Barrier(3), []
            threads = [threading.Thread(target=deliver, args=(batch,)) for batch in batches]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert complete == [request]
            assert request.embeddings[:, -1].tolist() == [0, 1, 2]
    finally:
        sys.setswitchinterval(interval_s)


def test_a_batch_keeps_to_its_tokens_padding_counted_and_takes_rows_alike_in_length() -> None:
    scheduler = make_scheduler(batch_tokens=64)
    for length in (10, 60, 9, 58, 11, 10):
        scheduler.add(make_request(length))
    taken = [sorted(lengths(take(scheduler))) for _ in range(3)]
    assert taken == [[9, 10, 10, 11], [60], [58]]


def test_at_most_a_fifth_of_a_batch_is_padding() -> None:
    scheduler = make_scheduler(batch_tokens=1000)
    rng = np.random.default_rng(0)
    for length in rng.integers(1, 200, size=90):
        scheduler.add(make_request(int(length)))
    taken = 0
    while taken < 90:
        batch = take(scheduler)
        taken += len(batch.rows)
        assert sum(lengths(batch)) >= 0.8 * max(lengths(batch)) * len(batch.rows)


def test_a_row_longer_than_a_batch_goes_alone() -> None:
    scheduler = make_scheduler(batch_tokens=64)
    scheduler.add(make_request(500, 3))
    assert sorted(lengths(take(scheduler)) + lengths(take(scheduler))) == [3, 500]


def test_a_batch_keeps_to_its_rows() -> None:
    scheduler = make_scheduler(batch_rows=3, batch_tokens=1000)
    scheduler.add(make_request(*[2] * 7))
    assert [len(take(scheduler).rows) for _ in range(3)] == [3, 3, 1]


def test_the_row_that_waited_longest_is_in_the_next_batch_whatever_its_length() -> None:
    scheduler = make_scheduler(batch_tokens=64)
    scheduler.add(make_request(64))
    for _ in range(20):
        scheduler.add(make_request(2))
    assert 64 in lengths(take(scheduler))


def test_token_embeddings_come_back_to_their_tokens_and_share_no_batch_with_sentences() -> None:
    scheduler = make_scheduler()
    tokens, more = make_request(3, 5, of_tokens=True, first_id=1), make_request(4, of_tokens=True, first_id=7)
    sentences = make_request(4, 4)
    scheduler.add(tokens, sentences, more)
    batches = [take(scheduler), take(scheduler)]
    assert sorted(batch.of_tokens for batch in batches) == [False, True]
    for batch in batches:
        batch.deliver(batch.tokens()[0][:, None].astype(np.float32) if batch.of_tokens else first_ids(batch))
    assert tokens.embeddings.ravel().tolist() == [1] * 3 + [2] * 5
    assert more.embeddings.ravel().tolist() == [7] * 4
    assert sentences.embeddings.tolist() == [[1], [2]]


def test_an_allowance_is_given_back_once_however_often_a_request_ends() -> None:
    allowance = Allowance(10)
    assert allowance.take(12), "the first may be too large"
    assert not allowance.take(1)
    request = make_request(12, on_end=lambda: allowance.give(12))
    assert request.end()
    assert not request.end()
    assert allowance.taken == 0
    assert allowance.take(10)
    assert not allowance.take(1)


def test_a_few_rows_are_divided_evenly_among_the_idle_encoders() -> None:
    scheduler = make_scheduler(encoders=2, batches_in_flight=3, alike=False)
    scheduler.add(make_request(*[8] * 5))
    first, second = scheduler.take(), scheduler.take()
    assert (len(first.rows), len(second.rows)) == (2, 3)


def test_a_busy_encoder_has_no_share_of_the_rows() -> None:
    scheduler = make_scheduler(encoders=2, batches_in_flight=3, alike=False)
    scheduler.add(make_request(8))
    scheduler.take()
    scheduler.add(make_request(*[8] * 5))
    assert len(scheduler.take().rows) == 5


def test_a_share_is_worth_its_fixed_cost() -> None:
    scheduler = make_scheduler(encoders=4, batches_in_flight=5, alike=False)
    scheduler.add(make_request(2, 2, 2, 2))
    assert len(scheduler.take().rows) == 4


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("encoders", [1, 2, 4])
def test_every_row_is_computed_once_however_the_rows_are_divided(encoders: int, alike: bool) -> None:
    scheduler = make_scheduler(
        batch_rows=5, encoders=encoders, batches_in_flight=encoders + 1, alike=alike, waiting_rows=10_000
    )
    draw, taken, complete = random.Random(encoders), queue.Queue[Any](), queue.Queue[Any]()
    free = threading.Semaphore(encoders)

    def work() -> None:
        while batch := scheduler.take():
            with free:
                time.sleep(0.0002)
            taken.put(batch.rows)
            for request in batch.deliver(first_ids(batch)):
                complete.put(request)
            scheduler.done(batch)

    workers = [threading.Thread(target=work) for _ in range(encoders + 1)]
    for worker in workers:
        worker.start()
    requests = [
        make_request(
            *draw.choices([1, 4, 9, 40, 90], k=draw.randint(1, 7)), lane=draw.choice(["query", "bulk", "canary"])
        )
        for _ in range(150)
    ]
    for request in requests:
        assert not scheduler.add(request)
        time.sleep(draw.choice([0, 0, 0.001]))
    try:
        finished = [complete.get(timeout=10) for _ in requests]
    finally:
        scheduler.close()
        for worker in workers:
            worker.join()
    assert set(finished) == set(requests)
    rows = [(row.request, row.place) for batch in taken.queue for row in batch]
    assert len(rows) == len(set(rows)) == sum(len(request.unknown) for request in requests)
    for request in requests:
        assert request.embeddings.ravel().tolist() == np.unique(request.input_ids).tolist()
