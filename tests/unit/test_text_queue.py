"""The queue of text that waits for its turn, without Triton."""

from __future__ import annotations

import threading
import time
from typing import Any

from sentriton_server.resources import load_model_code

text_queue = load_model_code("embed_text", "text_queue")


def waiting(size: int, **settings: Any) -> Any:
    return text_queue.Waiting(["x"], size=size, deadline=time.monotonic() + 9, **settings)


def test_text_is_taken_in_its_order() -> None:
    queue = text_queue.TextQueue(100_000)
    texts = [waiting(size) for size in (3, 1, 2)]
    for each in texts:
        assert queue.add(each) is None
    assert [queue.take() for _ in texts] == texts


def test_a_full_queue_refuses_until_there_is_room() -> None:
    room = 2 * waiting(1000).memory
    queue = text_queue.TextQueue(room)
    assert queue.add(waiting(1000)) is None
    assert queue.add(waiting(1000)) is None
    assert queue.add(waiting(1000)) == f"{room:,} bytes of text wait, at most {room:,} may"
    queue.take()
    assert queue.add(waiting(1000)) is None


def test_text_larger_than_the_queue_waits_where_nothing_else_does() -> None:
    assert text_queue.TextQueue(10).add(waiting(1000)) is None


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


def test_closing_wakes_all_who_wait() -> None:
    queue = text_queue.TextQueue(10)
    taken: list[Any] = []
    threads = [threading.Thread(target=lambda: taken.append(queue.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.close()
    for thread in threads:
        thread.join(5)
    assert taken == [None] * 3
