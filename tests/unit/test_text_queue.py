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
    queue = text_queue.TextQueue(2 * LONG_BYTES)
    assert queue.add(waiting(LONG_BYTES)) is None
    assert queue.add(waiting(LONG_BYTES)) is None
    assert queue.add(waiting(LONG_BYTES)) == f"{2 * LONG_BYTES:,} bytes of text wait, at most {2 * LONG_BYTES:,} may"
    assert queue.add(waiting(1)) is None
    assert queue.add(waiting(LONG_BYTES, is_canary=True)) is None
    queue.take((LONG,))
    assert queue.add(waiting(LONG_BYTES)) is None


def test_text_larger_than_the_lane_waits_where_nothing_else_does() -> None:
    assert text_queue.TextQueue(10).add(waiting(LONG_BYTES)) is None


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
