"""The lanes of the scheduler: order, and rejected, expired or cancelled requests."""

from __future__ import annotations

import itertools
import queue
import re
import threading
import time
from typing import Any

import pytest

from tests.unit.scheduling import (
    Pace,
    lengths,
    make_request,
    make_scheduler,
    take,
)


def test_queries_go_before_bulk_work_that_came_earlier() -> None:
    scheduler = make_scheduler()
    scheduler.add(make_request(5, lane="bulk"))
    scheduler.add(make_request(5, lane="query"))
    assert [take(scheduler).rows[0].request.lane for _ in range(2)] == ["query", "bulk"]


def test_while_queries_come_bulk_batches_are_short_and_leave_a_place_free() -> None:
    scheduler = make_scheduler(batch_tokens=64, batches_in_flight=2)
    scheduler.add(make_request(*[4] * 32, lane="bulk"))
    scheduler.add(make_request(4))
    assert take(scheduler).rows[0].request.lane == "query"
    bulk = scheduler.take()
    assert len(bulk.rows) * 4 == 64 // 8
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.append(scheduler.take()))
    waiting.start()
    waiting.join(0.1)
    assert not taken, "a second bulk batch took the place that is kept for queries"
    scheduler.done(bulk)
    waiting.join(5)
    assert taken[0].rows[0].request.lane == "bulk"


def test_an_idle_encoder_gets_no_long_bulk_batch_while_queries_come() -> None:
    scheduler = make_scheduler(batch_tokens=64, batches_in_flight=3, encoders=2)
    scheduler.add(make_request(4))
    take(scheduler)
    scheduler.add(make_request(*[4] * 32, lane="bulk"))
    assert [len(scheduler.take().rows) * 4 for _ in range(2)] == [64 // 8] * 2
    scheduler.add(make_request(4))
    assert scheduler.take().lane == "query", "it has the place that bulk work leaves"


def test_without_queries_bulk_work_takes_every_place_and_whole_batches() -> None:
    scheduler = make_scheduler(batch_tokens=64, batches_in_flight=2)
    scheduler.add(make_request(*[4] * 32, lane="bulk"))
    assert [len(scheduler.take().rows) for _ in range(2)] == [16, 16]


def test_beyond_what_is_computed_a_batch_leaves_when_it_is_large() -> None:
    scheduler = make_scheduler(batch_tokens=64, batches_in_flight=2)
    scheduler.add(make_request(4))
    computed = scheduler.take()
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.append(scheduler.take()))
    waiting.start()
    for _ in range(7):
        scheduler.add(make_request(4))
    waiting.join(0.1)
    assert not taken, "it left, though no encoder is free to compute it and others may join it"
    scheduler.add(make_request(4))
    waiting.join(5)
    assert len(taken[0].rows) == 8, "half of a batch's tokens"
    scheduler.add(make_request(4))
    scheduler.done(computed)
    scheduler.done(taken[0])
    assert len(scheduler.take().rows) == 1, "nothing else is computed"


def test_no_more_batches_leave_than_may_be_in_flight() -> None:
    scheduler = make_scheduler(batch_tokens=64, batches_in_flight=2)
    scheduler.add(make_request(*[4] * 48, lane="bulk"))
    computed = [scheduler.take() for _ in range(2)]
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.append(scheduler.take()), daemon=True)
    waiting.start()
    scheduler.add(make_request(4))
    waiting.join(0.1)
    assert not taken, "a thread is free, but no place"
    scheduler.done(computed[0])
    waiting.join(5)
    assert taken[0].rows[0].request.lane == "query"


def test_a_query_does_not_wait_for_others_behind_bulk_work() -> None:
    scheduler = make_scheduler(batch_tokens=64, batches_in_flight=2)
    scheduler.add(make_request(*[4] * 4, lane="bulk"))
    assert scheduler.take().rows[0].request.lane == "bulk"
    scheduler.add(make_request(4))
    assert scheduler.take().rows[0].request.lane == "query"


def test_requests_that_come_together_go_to_all_who_wait_for_batches() -> None:
    scheduler = make_scheduler(batch_rows=1, batches_in_flight=4)
    batches: queue.Queue[Any] = queue.Queue()
    workers = [threading.Thread(target=lambda: batches.put(scheduler.take()), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(0.1)  # all of them wait
    scheduler.add(*(make_request(4) for _ in range(3)))
    # Sooner than a waiting thread checks again by itself.
    assert [lengths(batches.get(timeout=0.5)) for _ in workers] == [[4]] * 3


def test_a_full_lane_turns_a_request_away_and_the_other_lane_does_not_mind() -> None:
    scheduler = make_scheduler(waiting_rows=4)
    scheduler.add(make_request(1, 1, 1))
    one_more = make_request(1, 1)
    assert scheduler.add(one_more) == {one_more: "3 rows wait, at most 4 may"}
    scheduler.add(make_request(1, 1, lane="bulk"))
    assert (scheduler.waiting("query"), scheduler.waiting("bulk")) == (3, 2)


def test_a_request_larger_than_a_lane_is_taken_where_nothing_waits() -> None:
    scheduler = make_scheduler(waiting_rows=4, batch_rows=16)
    scheduler.add(make_request(*[1] * 9))
    assert len(scheduler.take().rows) == 9


def test_a_pace_is_that_of_the_last_batches_and_pauses_do_not_count() -> None:
    pace = Pace()
    assert pace.wait_s(1000) == 0
    now = 0.0
    for seconds, batches in ((0.1, 50), (0.4, 50)):
        for _ in range(batches):
            now += seconds
            pace.taken(100, now, more=True)
    assert pace.wait_s(1000) == pytest.approx(4, rel=0.05)
    pace.taken(100, now + 0.4, more=False)
    pace.taken(100, now + 1000, more=True)
    assert pace.wait_s(1000) == pytest.approx(4, rel=0.05)


def test_a_request_whose_turn_would_come_too_late_is_turned_away_at_once() -> None:
    scheduler = make_scheduler(batch_tokens=16, waiting_rows=1000)
    scheduler.add(make_request(*[8] * 100, lane="bulk"))
    for _ in range(10):
        take(scheduler)
        time.sleep(0.02)
    # 80 rows wait, two to a batch of 0.02 s.
    hurried, patient = make_request(8, lane="bulk", wait_s=0.2), make_request(8, lane="bulk", wait_s=20)
    turned_away = scheduler.add(hurried, patient, make_request(8, lane="query", wait_s=0.2))
    assert list(turned_away) == [hurried]
    assert re.fullmatch(r"a turn comes in about \d\.\d s, and this request may wait 0\.1 s", turned_away[hurried])
    assert scheduler.waiting("bulk") == 81


def test_a_lane_that_is_full_to_all_is_known_without_a_request() -> None:
    scheduler = make_scheduler(waiting_rows=4)
    soon = time.monotonic() + 60
    assert scheduler.why_full("query", soon) is None
    scheduler.add(make_request(1, 1, 1))
    assert scheduler.why_full("query", soon) is None, "one more row has room"
    scheduler.add(make_request(1))
    assert scheduler.why_full("query", soon) == "4 rows wait, at most 4 may"
    assert scheduler.why_full("bulk", soon) is None


def test_an_expired_request_is_told_once_and_its_rows_are_not_computed() -> None:
    expired: list[Any] = []
    scheduler = make_scheduler(on_expired=expired.append, batch_tokens=8)
    late, timely = make_request(*[4] * 6, wait_s=0), make_request(4)
    scheduler.add(late)
    scheduler.add(timely)
    batch = take(scheduler)
    assert [row.request for row in batch.rows] == [timely]
    assert expired == [late]


def test_a_cancelled_request_is_passed_over() -> None:
    gone: list[Any] = []
    told: list[Any] = []
    scheduler = make_scheduler(batch_tokens=16, is_cancelled=gone.__contains__, on_cancelled=told.append)
    cancelled, waiting = make_request(*[8] * 20), make_request(8)
    for request in (cancelled, waiting):
        scheduler.add(request)
    for _ in range(3):
        assert set(take(scheduler).requests()) == {cancelled}
        time.sleep(0.01)
    gone.append(cancelled)
    assert set(take(scheduler).requests()) == {waiting}
    assert told == [cancelled]


def test_a_cancelled_request_with_two_batches_under_way_is_told_once() -> None:
    told: list[Any] = []
    both_know = threading.Barrier(2)
    gone = threading.Event()

    def is_cancelled(request: Any) -> bool:
        if not (gone.is_set() and request is cancelled):
            return False
        both_know.wait(timeout=5)
        return True

    scheduler = make_scheduler(
        batch_tokens=16, batches_in_flight=3, is_cancelled=is_cancelled, on_cancelled=told.append
    )
    cancelled = make_request(*[8] * 10)
    scheduler.add(cancelled)
    for _ in range(3):
        take(scheduler)
        time.sleep(0.01)
    gone.set()
    others = [make_request(16), make_request(16)]
    workers = [threading.Thread(target=scheduler.take, daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    scheduler.add(*others)
    for worker in workers:
        worker.join(5)
        assert not worker.is_alive()
    assert told == [cancelled]


def test_nobody_is_asked_about_rows_that_are_computed_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(readings) * 1e-5)  # a busy machine may stand still
    asked: list[Any] = []
    scheduler = make_scheduler(batch_tokens=16, is_cancelled=asked.append)
    scheduler.add(make_request(*[8] * 20))
    for _ in range(10):
        take(scheduler)
    assert not asked


def test_take_waits_for_rows_and_ends_with_close() -> None:
    scheduler = make_scheduler()
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.extend([scheduler.take(), scheduler.take()]))
    waiting.start()
    request = make_request(2)
    scheduler.add(request)
    time.sleep(0.05)
    scheduler.close()
    waiting.join(5)
    assert [row.request for row in taken[0].rows] == [request]
    assert taken[1] is None
