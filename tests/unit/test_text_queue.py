"""The queue of text that waits for the tokenizer, without Triton."""

from __future__ import annotations

import threading
import time
from typing import Any

from sentriton_server.resources import load_model_code

text_queue = load_model_code("tokenizer", "text_queue")
CANARY, SHORT, LONG = text_queue.CANARY, text_queue.SHORT, text_queue.LONG
LONG_BYTES = text_queue.SHORT_BYTES + 1


def waiting(size: int, **settings: Any) -> Any:
    return text_queue.Waiting(["x"], size=size, deadline=time.monotonic() + 9, **settings)


def test_text_waits_in_the_lane_of_its_size_in_its_order() -> None:
    queue = text_queue.TextQueue(100_000)
    long, first, second = waiting(LONG_BYTES), waiting(1), waiting(2)
    canary = waiting(LONG_BYTES, is_canary=True)
    for each in (long, first, second, canary):
        assert queue.add(each) is None
    assert [queue.take((CANARY, SHORT)) for _ in range(3)] == [canary, first, second]
    assert queue.take((LONG, CANARY, SHORT)) is long


def test_a_full_lane_refuses_and_leaves_the_other_open() -> None:
    room = 2 * waiting(LONG_BYTES).memory
    queue = text_queue.TextQueue(room)
    assert queue.add(waiting(LONG_BYTES)) is None
    assert queue.add(waiting(LONG_BYTES)) is None
    assert queue.add(waiting(LONG_BYTES)) == f"{room:,} bytes of text wait, at most {room:,} may"
    assert queue.add(waiting(1)) is None
    assert queue.add(waiting(LONG_BYTES, is_canary=True)) is None
    queue.take((LONG,))
    assert queue.add(waiting(LONG_BYTES)) is None


def test_text_larger_than_the_lane_waits_where_nothing_else_does() -> None:
    assert text_queue.TextQueue(10).add(waiting(LONG_BYTES)) is None


def test_text_of_no_bytes_does_not_wait_without_bound() -> None:
    queue = text_queue.TextQueue(100_000)
    accepted = 0
    while queue.add(waiting(0)) is None:
        accepted += 1
    assert 10 < accepted < 100


def test_text_whose_turn_would_come_too_late_is_refused() -> None:
    queue = text_queue.TextQueue(100_000)
    now = time.monotonic()
    queue.add(waiting(1, arrived=now - 10))
    late = text_queue.Waiting(["x"], size=1, deadline=now + 6, arrived=now)
    assert queue.add(late) == "text has waited for 10.0 s, and this request may wait 3.0 s"
    assert queue.add(text_queue.Waiting(["x"], size=1, deadline=now + 30, arrived=now)) is None


def test_it_is_idle_until_short_text_or_the_canary_waits() -> None:
    queue = text_queue.TextQueue(100_000)
    queue.add(waiting(LONG_BYTES))
    assert queue.is_idle()
    queue.add(waiting(1))
    assert not queue.is_idle()


def test_closing_wakes_all_who_wait() -> None:
    queue = text_queue.TextQueue(10)
    taken: list[Any] = []
    threads = [threading.Thread(target=lambda: taken.append(queue.take((SHORT,)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.close()
    for thread in threads:
        thread.join(5)
    assert taken == [None] * 3
