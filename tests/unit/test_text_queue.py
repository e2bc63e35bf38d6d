"""The queue of text, without Triton."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from sentriton_server.resources import load_model_code

text_queue = load_model_code("embed_text", "text_queue")


def waiting(size: int, **settings: Any) -> Any:
    return text_queue.Waiting(**{"texts": ["x"], "size": size, "deadline": time.monotonic() + 9, **settings})


def take(queue: Any) -> Any:
    """A group that comes back at once."""
    group = queue.take()
    queue.came_back()
    return group


def grouping_queue(**settings: Any) -> Any:
    """A queue with one group in progress."""
    queue = text_queue.TextQueue(1_000_000, **{"groups": 1, "group_rows": 8, "group_bytes": 100, **settings})
    queue.add(waiting(1))
    queue.take()
    return queue


def test_text_is_taken_in_its_order() -> None:
    queue = text_queue.TextQueue(100_000)
    texts = [waiting(size) for size in (3, 1, 2)]
    for each in texts:
        assert queue.add(each) is None
    assert [take(queue) for _ in texts] == [[text] for text in texts]


def test_a_full_queue_refuses_until_there_is_room() -> None:
    room = 2 * waiting(1000).memory
    queue = text_queue.TextQueue(room)
    assert queue.add(waiting(1000)) is None
    assert queue.add(waiting(1000)) is None
    assert queue.add(waiting(1000)) == f"{room:,} bytes of text wait, at most {room:,} may"
    take(queue)
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


def test_text_that_waits_for_a_group_to_come_back_leaves_together() -> None:
    queue = grouping_queue()
    texts = [waiting(1), waiting(1, texts=["x", "y"]), waiting(1)]
    for each in texts:
        queue.add(each)
    queue.came_back()
    assert queue.take() == texts


def test_nothing_waits_while_a_group_may_leave() -> None:
    queue = grouping_queue(groups=3)
    for _ in range(2):
        queue.add(one := waiting(1))
        assert queue.take() == [one]


@pytest.mark.parametrize(("away", "rows"), [(1, 2), (2, 8)], ids=["a quarter", "full"])
def test_a_group_of_enough_rows_leaves_while_others_are_away(away: int, rows: int) -> None:
    queue = grouping_queue()
    for _ in range(away - 1):
        queue.add(waiting(1, texts=["x", "y"]))
        queue.take()
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    texts = [waiting(1) for _ in range(rows)]
    for each in texts[:-1]:
        queue.add(each)
    thread.join(0.05)
    assert not taken
    queue.add(texts[-1])
    thread.join(5)
    assert taken == [texts]


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"lane": "bulk"}},
        {"deadline": time.monotonic() + 3600},
        {"size": 100},
        {"texts": ["x"] * 8},
    ],
    ids=["parameters", "deadline", "bytes", "rows"],
)
def test_what_does_not_fit_a_group_leaves_after_it(other: dict[str, Any]) -> None:
    queue = grouping_queue()
    first, passed_over, last = waiting(1), waiting(**{"size": 1, **other}), waiting(1)
    for each in (first, passed_over, last):
        queue.add(each)
    queue.came_back()
    assert take(queue) == [first, last]
    assert take(queue) == [passed_over]
