"""Failures of calls in a joined request, with and without an effect on the others."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest

from sentriton import (
    AccessDenied,
    ContractMismatch,
    DeadlineExceeded,
    InvalidInput,
    SentritonError,
    ServerError,
)
from sentriton.errors import own_error
from tests.client.joined import BAD, PLACES, Callers, assert_vectors, error_of, refuse_word, rows_of
from tests.small_server import WORDS, SmallServer
from tests.waiting import SOON_S, until


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "a wrong row", InvalidInput),
        (grpc.StatusCode.INTERNAL, "an embedding that is not finite", ServerError),
    ],
)
def test_a_bad_neighbour_fails_alone(
    status: grpc.StatusCode, message: str, kind: type[SentritonError], callers: Callers
) -> None:
    refuse_word(callers.server, status, message)
    callers.hold()
    words = WORDS[10:20]
    calls = dict(zip(words, callers.waiting(*map(callers.call, words)), strict=True))
    bad = calls.pop(BAD)
    callers.release()
    assert_vectors(list(calls.values()), list(calls))
    error = error_of(bad)
    assert type(error) is kind
    assert str(error) == message
    # Once together, and then each separately.
    assert callers.server.received == PLACES + 1 + 10


def test_a_sentence_without_a_token_fails_alone(callers: Callers) -> None:
    callers.hold()
    good, bad = callers.waiting(callers.call("w10"), callers.call(["w11", " "]))
    callers.release()
    assert_vectors([good], ["w10"])
    with pytest.raises(InvalidInput, match=r"^sentences\[1\] is ' ', which has no token.*\(0 of 2 sentences were"):
        bad.result(SOON_S)


def test_an_error_of_the_server_reaches_every_call_in_an_object_of_its_own(callers: Callers) -> None:
    callers.hold()
    calls = callers.waiting(*map(callers.call, WORDS[10:20]), callers.call(WORDS[20:23]))
    refuse_word(callers.server, grpc.StatusCode.PERMISSION_DENIED, "no entry", "w10")
    callers.release()
    errors = [error_of(call) for call in calls]
    assert {type(error) for error in errors} == {AccessDenied}
    assert len({id(error) for error in errors}) == len(errors)
    assert len({str(error) for error in errors[:-1]}) == 1
    assert str(errors[-1]) == f"{errors[0]} (0 of 3 sentences were embedded)"
    assert callers.server.received == PLACES + 1


def test_numbers_that_are_none_fail_the_calls_that_they_belong_to(callers: Callers) -> None:
    def change(response: Any) -> None:
        numbers = np.frombuffer(response.raw_output_contents[0], "<f4").copy()
        numbers[numbers == int(BAD[1:])] = np.nan
        response.raw_output_contents[0] = numbers.tobytes()

    callers.server.change = change
    callers.hold()
    calls = callers.waiting(*map(callers.call, ["w12", BAD, "w14"]), callers.call(["w15", BAD]))
    callers.release()
    assert_vectors([calls[0], calls[2]], ["w12", "w14"])
    wrong = f"^wrong answer from {callers.server.url}: the server sent sentence_embedding with NaN or infinity in row"
    with pytest.raises(ServerError, match=f"{wrong} 0; expected numbers$"):
        calls[1].result()
    with pytest.raises(ServerError, match=rf"{wrong} 1; expected numbers \(0 of 2 sentences were embedded\)$"):
        calls[3].result(SOON_S)
    assert callers.server.received == PLACES + 1


def test_an_answer_of_another_shape_fails_every_call(callers: Callers) -> None:
    callers.hold()
    calls = callers.waiting(*map(callers.call, WORDS[10:14]))
    callers.server.change = lambda response: response.outputs[0].shape.__setitem__(0, len(response.outputs) + 70)
    callers.server.silent.clear()
    for call in [*callers.held, *calls]:
        with pytest.raises(ServerError, match=r"wrong answer from .* of shape"):
            call.result(SOON_S)
    assert callers.server.received == PLACES + 1


def test_each_call_ends_at_its_own_deadline(server: SmallServer) -> None:
    delays = iter([0.2, 2.4])
    server.delay_s = lambda: next(delays)
    callers = Callers(server, max_in_flight=1)
    first = callers.call("w0")
    until(lambda: server.received == 1)
    started = time.monotonic()
    short, long = callers.waiting(callers.call("w10", timeout_s=2), callers.call("w11", timeout_s=3.6))
    with pytest.raises(DeadlineExceeded, match=r"^the call took longer than its timeout_s of 2 s"):
        short.result(SOON_S)
    assert 2.0 <= time.monotonic() - started < 2.4
    assert_vectors([first, long], ["w0", "w11"])
    assert server.received == 2
    assert server.timeouts_us[1] > 3_000_000, "the request has the time of the call that has most"
    callers.encoder.close()


def test_a_call_that_waits_ends_at_its_deadline(callers: Callers) -> None:
    callers.hold()
    (call, other) = callers.waiting(callers.call("w10", timeout_s=0.3), callers.call("w11"))
    with pytest.raises(DeadlineExceeded, match=r"its timeout_s of 0.3 s"):
        call.result(SOON_S)
    callers.release()
    assert_vectors([other], ["w11"])
    assert rows_of(callers.server.requests[-1]) == [11]


def test_a_request_that_failed_is_sent_again_as_one(callers: Callers) -> None:
    callers.hold()
    calls = callers.waiting(*map(callers.call, WORDS[10:20]))
    callers.encoder._session.budget.tokens = 50.0

    def refuse(number: int, context: Any) -> None:
        if number == PLACES:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the query lane is full")

    callers.server.refuse = refuse
    callers.release()
    assert_vectors(calls, WORDS[10:20])
    assert [len(rows_of(request)) for request in callers.server.requests[PLACES:]] == [10, 10]
    assert callers.encoder._session.budget.tokens == pytest.approx(50 - 1 + (PLACES + 1) / 5)


def test_a_call_whose_time_ends_before_the_retry_says_why(callers: Callers) -> None:
    def refuse(number: int, context: Any) -> None:
        if number >= PLACES:
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    callers.server.refuse = refuse
    callers.hold()
    calls = callers.waiting(callers.call("w10", timeout_s=2.0), callers.call(["w11", "w12"], timeout_s=2.5))
    callers.release()
    for call, words in zip(calls, ("stopping$", r"stopping \(0 of 2 sentences were embedded\)$"), strict=True):
        with pytest.raises(SentritonError, match=words):
            call.result(SOON_S)


@pytest.mark.parametrize("reaction", ["reload", "raise"])
def test_another_model_while_calls_share_a_request(reaction: str, server: SmallServer) -> None:
    callers = Callers(server, on_model_change=reaction)
    callers.hold()
    calls = callers.waiting(*map(callers.call, WORDS[10:20]))
    new = {**server.manifest, "fingerprint": "e" * 64}
    server.manifest = new

    def refuse(number: int, context: Any) -> None:
        if number >= PLACES and server.requests[number].parameters["fingerprint"].string_param != "e" * 64:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "fingerprint mismatch: another model")

    server.refuse = refuse
    callers.release()
    if reaction == "reload":
        assert_vectors(calls, WORDS[10:20])
        assert callers.encoder.manifest.fingerprint == "e" * 64
    else:
        errors = [error_of(call) for call in calls]
        assert {type(error) for error in errors} == {ContractMismatch}
        assert len({id(error) for error in errors}) == len(errors)
        assert server.received == PLACES + 1
    callers.encoder.close()


def test_closing_ends_calls_that_wait_and_calls_under_way(callers: Callers) -> None:
    callers.hold()
    calls = callers.waiting(*map(callers.call, WORDS[10:20]))
    started = time.monotonic()
    callers.encoder.close()
    for call in [*callers.held, *calls]:
        with pytest.raises(SentritonError, match=r"^this encoder is closed; make a new one$"):
            call.result(SOON_S)
    assert time.monotonic() - started < SOON_S


def test_an_interrupt_of_the_sending_call_leaves_the_others(callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    callers.hold()
    calls = callers.waiting(*map(callers.call, WORDS[10:20]))
    tokenizer = callers.encoder._session.model.tokenizer
    tokenize, interrupted = tokenizer.tokenize, threading.Event()

    def interrupt(texts: Any) -> Any:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return tokenize(texts)

    monkeypatch.setattr(tokenizer, "tokenize", interrupt)
    callers.release()
    outcomes = [call.exception(SOON_S) for call in calls]
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [KeyboardInterrupt]
    left = [place for place, outcome in enumerate(outcomes) if outcome is None]
    assert_vectors([calls[place] for place in left], [WORDS[10 + place] for place in left])


def test_a_tokenizer_that_fails_for_one_sentence(callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = callers.encoder._session.model.tokenizer
    tokenize = tokenizer.tokenize

    def fail(texts: Any) -> Any:
        if BAD in texts:
            raise ServerError("it does not tokenize")
        return tokenize(texts)

    monkeypatch.setattr(tokenizer, "tokenize", fail)
    callers.hold()
    calls = callers.waiting(*map(callers.call, ["w12", BAD, "w14"]))
    callers.release()
    assert_vectors([calls[0], calls[2]], ["w12", "w14"])
    with pytest.raises(ServerError, match=r"^it does not tokenize$"):
        calls[1].result(SOON_S)


def test_an_error_keeps_its_class_and_cause() -> None:
    error = InvalidInput("wrong")
    error.__cause__ = ValueError("why")
    own = own_error(error, " (0 of 2)")
    assert own is not error
    assert (type(own), str(own), own.__cause__) == (InvalidInput, "wrong (0 of 2)", error.__cause__)
