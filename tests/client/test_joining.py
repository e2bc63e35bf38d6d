"""Joined requests step by step: their calls, their times, and the requests after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sentriton import DeadlineExceeded, Overloaded, SentritonError, ServerUnavailable
from sentriton.course import Sending
from sentriton.deadline import Deadline
from sentriton.endpoints import Endpoint, Endpoints
from sentriton.joining import Joiner
from sentriton.joint import Joint, Member
from sentriton.pacing import RetryBudget
from sentriton.served_model import ServedModel
from sentriton.tokenization import TextTokenizer
from tests.example_manifest import make_manifest
from tests.small_server import DIMENSION, embeddings_response, make_tokenizer, vectors

MODEL = ServedModel(make_manifest(dimension=DIMENSION), TextTokenizer(make_tokenizer()))


class Calls:
    """Small calls at servers of these addresses. `woken` has the woken calls."""

    def __init__(self, servers: Sequence[str] = "a", max_in_flight: int = 16) -> None:
        self.budget = RetryBudget()
        self.endpoints = Endpoints([Endpoint(address, None) for address in servers])
        self.joiner = Joiner(self.endpoints, self.budget, max_in_flight)
        self.woken: list[str] = []

    def enter(self, word: str, timeout_s: float | None = None, now: float = 0.0) -> Member:
        deadline = Deadline(timeout_s, 60.0, now)
        member: Member = Member(MODEL, [word], [word], 0, 64, deadline, lambda: self.woken.append(word))
        self.joiner.enter(member)
        return member

    def send(self, now: float) -> tuple[Joint, Sending]:
        """The next request, on its way."""
        joint = self.joiner.gather(now)
        assert joint is not None
        joint.tokenize()
        sending = self.joiner.depart(joint, now)
        assert sending is not None
        sending.endpoint.begin(sending, now)
        return joint, sending

    def answer(self, joint: Joint, sending: Sending, now: float) -> None:
        sending.endpoint.end(sending)
        tokens = np.array([row[0] for member in joint.loads[sending].members for row in member.tokens or ()])
        self.joiner.settle(joint, sending, lambda: embeddings_response(tokens), now)

    def fail(self, joint: Joint, sending: Sending, error: SentritonError, now: float) -> None:
        sending.endpoint.end(sending)

        def result() -> Any:
            raise error

        self.joiner.settle(joint, sending, result, now)


def in_flight(calls: Calls, words: list[str], now: float = 0.0) -> tuple[list[Member], Joint, Sending]:
    """A request of these calls."""
    members = [calls.enter(word, now=now) for word in words]
    return members, *calls.send(now)


@pytest.mark.parametrize(
    ("servers", "most", "places"),
    [("a", 16, 4), ("abc", 16, 12), ("abcdef", 16, 16), ("a", 2, 2), (["dns:///many:1"], 10, 10)],
)
def test_places_are_four_for_each_server_and_at_most_max_in_flight(
    servers: Sequence[str], most: int, places: int
) -> None:
    calls = Calls(servers, most)
    for _ in range(places):
        in_flight(calls, ["w1"])
    waiting = calls.enter("w2")
    assert calls.joiner.gather(0.0) is None
    assert waiting.joint is None


def test_an_answer_wakes_its_calls_and_the_first_that_waits() -> None:
    calls = Calls(max_in_flight=1)
    members, joint, sending = in_flight(calls, ["w1", "w2"])
    calls.enter("w3")
    calls.enter("w4")
    calls.woken.clear()
    calls.answer(joint, sending, 1.0)
    assert sorted(calls.woken) == ["w1", "w2", "w3"]
    for member, word in zip(members, ("w1", "w2"), strict=True):
        np.testing.assert_array_equal(member.embeddings, vectors([word]))
    _, sending = calls.send(1.0)
    assert sending.attempt.rows.tokens.input_ids.tolist() == [3, 4]


def test_a_call_that_was_woken_and_leaves_wakes_the_next() -> None:
    calls = Calls(max_in_flight=1)
    _, joint, sending = in_flight(calls, ["w1"])
    first = calls.enter("w2")
    calls.enter("w3")
    calls.answer(joint, sending, 1.0)
    calls.woken.clear()
    calls.joiner.leave(first, 1.0)
    assert calls.woken == ["w3"]


def test_a_retry_carries_the_calls_that_are_left_and_gives_its_place_away_in_the_pause() -> None:
    calls = Calls(max_in_flight=1)
    (first, second, _), joint, sending = in_flight(calls, ["w1", "w2", "w3"])
    calls.fail(joint, sending, ServerUnavailable("away"), 1.0)
    calls.enter("w4")
    other = calls.send(1.0)
    calls.joiner.leave(first, 1.0)
    assert calls.woken[-1] == "w2", "another call looks after the retry now"
    assert calls.joiner.next(second, 2.0) is None, "no place is free"
    assert calls.joiner.wait_s(second, 2.0) == pytest.approx(0.1)
    calls.answer(*other, 3.0)
    assert calls.woken[-1] == "w2", "a retry goes before calls that wait"
    again = calls.joiner.next(second, 3.0)
    assert again is not None
    assert joint.loads[again[1]].tokens.input_ids.tolist() == [2, 3]
    calls.answer(*again, 4.0)
    assert first.embeddings is None
    np.testing.assert_array_equal(second.embeddings, vectors(["w2"]))


def test_a_call_that_ends_in_the_pause_says_what_the_server_said() -> None:
    calls = Calls()
    short, long = calls.enter("w1", 10), calls.enter("w2", 19)
    joint, sending = calls.send(0.0)
    assert sending.until == 19
    calls.fail(joint, sending, ServerUnavailable("away"), 9.99)
    with pytest.raises(ServerUnavailable, match="away"):
        calls.joiner.next(short, 10.0)
    calls.joiner.leave(short, 10.0)
    assert calls.joiner.next(long, 11.0) is not None


def test_a_request_that_comes_too_late_fails_each_call_with_its_own_deadline() -> None:
    calls = Calls()
    members = [calls.enter("w1", 10), calls.enter("w2", 12)]
    joint, sending = calls.send(0.0)
    calls.fail(joint, sending, DeadlineExceeded("late"), 12.0)
    assert [str(member.error).split(";")[0] for member in members] == [
        f"the call took longer than its timeout_s of {timeout_s} s" for timeout_s in (10, 12)
    ]


def test_overload_halves_the_places() -> None:
    calls = Calls()
    requests = [in_flight(calls, ["w1"]) for _ in range(4)]
    members, joint, sending = requests[0]
    calls.fail(joint, sending, Overloaded("full"), 1.0)
    calls.answer(*requests[1][1:], 1.0)
    calls.enter("w2")
    assert calls.joiner.gather(1.0) is None, "two are in flight"
    calls.answer(*requests[2][1:], 1.0)
    assert calls.joiner.gather(1.0) is not None
    assert members[0].error is None


def test_a_silent_server_s_request_goes_to_another_as_well() -> None:
    calls = Calls("ab")
    (first, second), joint, sending = in_flight(calls, ["w1", "w2"])
    assert calls.joiner.wait_s(first, 1.5) == pytest.approx(0.5)
    assert calls.joiner.wait_s(second, 1.5) == 1.0, "one of them looks after it"
    again = calls.joiner.next(first, 2.0)
    assert again is not None
    assert {sending.endpoint.address, again[1].endpoint.address} == {"a", "b"}
    cancelled: list[str] = []
    sending.cancel = lambda: cancelled.append("first")
    calls.answer(*again, 2.5)
    assert cancelled == ["first"]
    assert not joint.awaits(sending)
    np.testing.assert_array_equal(second.embeddings, vectors(["w2"]))


def test_the_last_call_that_leaves_cancels_its_request() -> None:
    calls = Calls(max_in_flight=1)
    (first, second), joint, sending = in_flight(calls, ["w1", "w2"])
    cancelled: list[str] = []
    sending.cancel = lambda: cancelled.append("it")
    calls.joiner.leave(first, 1.0)
    assert cancelled == []
    calls.enter("w3")
    calls.joiner.leave(second, 1.0)
    assert cancelled == ["it"]
    assert calls.woken[-1] == "w3"
    calls.answer(joint, sending, 2.0)  # too late to matter
    assert first.embeddings is second.embeddings is None


def test_calls_that_leave_while_their_request_is_made() -> None:
    calls = Calls(max_in_flight=1)
    members = [calls.enter(word) for word in ("w1", "w2", "w3")]
    joint = calls.joiner.gather(0.0)
    assert joint is not None
    calls.joiner.leave(members[1], 0.0)
    joint.tokenize()
    sending = calls.joiner.depart(joint, 0.0)
    assert sending is not None
    assert joint.loads[sending].tokens.input_ids.tolist() == [1, 3]
    calls.answer(joint, sending, 1.0)
    alone = calls.enter("w4")
    joint = calls.joiner.gather(1.0)
    assert joint is not None
    calls.joiner.leave(alone, 1.0)
    joint.tokenize()
    assert calls.joiner.depart(joint, 1.0) is None
    calls.enter("w5")
    assert calls.joiner.gather(1.0) is not None, "its place is free again"
