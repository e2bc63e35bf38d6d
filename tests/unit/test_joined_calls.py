"""Small calls of one encoder that wait share a request, and each of them goes on as if it had its own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from sentriton import (
    AccessDenied,
    ContractMismatch,
    DeadlineExceeded,
    InvalidInput,
    SentenceEncoder,
    SentritonError,
    ServerError,
)
from sentriton.errors import own_error
from tests.small_server import SOON_S, WORDS, SmallServer, first_tokens, vectors

PLACES = 4  # requests in flight before calls wait
BAD = "w13"


class Callers:
    """Calls in threads. `hold` keeps all places taken until `release`, so that what is called meanwhile waits."""

    def __init__(self, server: SmallServer, **settings: Any) -> None:
        self.server = server
        self.encoder = SentenceEncoder(server.url, **settings)
        self.pool = ThreadPoolExecutor(80)
        self.held: list[Future[Any]] = []

    def call(self, *arguments: Any, **options: Any) -> Future[Any]:
        return self.pool.submit(self.encoder.encode, *arguments, **options)

    def hold(self) -> None:
        self.server.silent.set()
        before = self.server.received
        self.held = [self.call(WORDS[place]) for place in range(PLACES)]
        until(lambda: self.server.received == before + PLACES)

    def waiting(self, *calls: Future[Any]) -> list[Future[Any]]:
        """The calls, once all wait."""
        until(lambda: len(self.encoder._session.joiner._waiting) == len(calls))
        return list(calls)

    def release(self) -> None:
        self.server.silent.clear()
        for place, call in enumerate(self.held):
            np.testing.assert_array_equal(call.result(SOON_S), vectors([WORDS[place]])[0])


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def callers(server: SmallServer) -> Iterator[Callers]:
    callers = Callers(server)
    yield callers
    server.silent.clear()
    callers.encoder.close()
    callers.pool.shutdown()


def error_of(call: Future[Any]) -> BaseException:
    error = call.exception(SOON_S)
    assert error is not None
    return error


def assert_vectors(calls: list[Future[Any]], words: list[str]) -> None:
    for call, word in zip(calls, words, strict=True):
        np.testing.assert_array_equal(call.result(SOON_S), vectors([word])[0])


def rows_of(request: Any) -> list[int]:
    return sorted(first_tokens(request).tolist())


def refuse_word(server: SmallServer, status: grpc.StatusCode, message: str, word: str = BAD) -> None:
    """The server refuses every request with this word."""

    def refuse(number: int, context: Any) -> None:
        if int(word[1:]) in first_tokens(server.requests[number]):
            context.abort(status, message)

    server.refuse = refuse


def test_an_idle_encoder_sends_at_once_and_calls_that_wait_leave_together(callers: Callers) -> None:
    callers.hold()
    assert callers.server.under_way == PLACES
    words = WORDS[10:30]
    calls = callers.waiting(*map(callers.call, words))
    callers.release()
    assert_vectors(calls, words)
    assert callers.server.received == PLACES + 1
    assert rows_of(callers.server.requests[-1]) == list(range(10, 30))


def test_calls_of_several_sentences_keep_their_order(callers: Callers) -> None:
    callers.hold()
    wanted = [WORDS[place : place + 1 + place % 8][::-1] for place in range(20, 36)]
    calls = callers.waiting(*map(callers.call, wanted))
    callers.release()
    for call, words in zip(calls, wanted, strict=True):
        np.testing.assert_array_equal(call.result(SOON_S), vectors(words))
    # 72 rows, and a request has at most 64.
    assert callers.server.received == PLACES + 2


def test_each_call_has_its_own_options_and_its_own_array(callers: Callers) -> None:
    callers.hold()
    plain, short = callers.waiting(
        callers.call("w10"), callers.call(["w11"], truncate_dim=2, normalize_embeddings=True)
    )
    callers.release()
    np.testing.assert_allclose(short.result(SOON_S), [[0.5**0.5] * 2])
    found = plain.result(SOON_S)
    assert found.flags.writeable
    assert found.base is None or found.base.nbytes == found.nbytes
    assert callers.server.received == PLACES + 1


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_of_their_own(include_prompt: bool, server: SmallServer) -> None:
    server.manifest["include_prompt"] = include_prompt
    callers = Callers(server)
    callers.hold()
    calls = callers.waiting(
        callers.call("w10", prompt="w7 "), callers.call("w11"), callers.call("w12", prompt="w8 w9 ")
    )
    callers.release()
    assert_vectors(calls, ["w7", "w11", "w8"])
    assert server.received == PLACES + 1
    ids, row, pooled = (
        np.frombuffer(raw, kind)
        for raw, kind in zip(server.requests[-1].raw_input_contents, ("<i4", "<i4", "?"), strict=True)
    )
    found = {tuple(ids[row == place]): tuple(pooled[row == place]) for place in range(3)}
    own = include_prompt
    assert found == {(7, 10): (own, True), (11,): (True,), (8, 9, 12): (own, own, True)}
    callers.encoder.close()


def test_what_may_not_share_a_request_does_not(callers: Callers) -> None:
    callers.hold()
    calls = [
        callers.call("w10"),
        callers.call("w11", batch_size=8),  # one limit a request
        callers.call("w12", timeout_s=3),  # times that are far apart
        callers.call("w13", timeout_s=4),
    ]
    callers.waiting(*calls)
    large = callers.call(WORDS[20:30])
    single = callers.call("w14", batch_size=1)
    until(lambda: callers.server.received == PLACES + 2)
    callers.release()
    assert_vectors([*calls, single], ["w10", "w11", "w12", "w13", "w14"])
    np.testing.assert_array_equal(large.result(SOON_S), vectors(WORDS[20:30]))
    joined = [rows_of(request) for request in callers.server.requests[PLACES:]]
    assert sorted(joined) == sorted([list(range(20, 30)), [14], [10], [11], [12, 13]])


def test_requests_stay_within_their_tokens(callers: Callers) -> None:
    callers.hold()
    long = [" ".join([word] * 1500) for word in WORDS[10:15]]
    calls = callers.waiting(*map(callers.call, long))
    several = callers.call([" ".join([word] * 800) for word in WORDS[20:28]])  # too many for one request
    callers.release()
    assert_vectors(calls, WORDS[10:15])
    np.testing.assert_array_equal(several.result(SOON_S), vectors(WORDS[20:28]))
    tokens = [request.inputs[0].shape[0] for request in callers.server.requests[PLACES:]]
    assert max(tokens) <= 4096
    assert len(tokens) == 3 + 2


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
    # All together, and each of them alone.
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
    wrong = f"^a wrong answer of {callers.server.url}: the server sent sentence_embedding with NaN or infinity in row"
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
        with pytest.raises(ServerError, match=r"a wrong answer of .* of shape"):
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
    calls = callers.waiting(callers.call("w10", timeout_s=1.0), callers.call(["w11", "w12"], timeout_s=1.5))
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


@pytest.mark.parametrize("seconds", [6.0])
def test_no_call_is_forgotten_under_a_random_load(seconds: float, server: SmallServer) -> None:
    """64 threads; sentences, deadlines, delays and failures drawn at random; every vector is compared."""
    drawn = random.Random(5)

    def refuse(number: int, context: Any) -> None:
        kind = drawn.random()
        if kind < 0.03:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the query lane is full")
        if kind < 0.04:
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        if 13 in first_tokens(server.requests[number]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a wrong row")

    server.refuse = refuse
    server.delay_s = lambda: drawn.choice([0.0, 0.001, 0.01, 0.05])
    end = time.monotonic() + seconds
    answers = [0] * 64

    def call(encoder: SentenceEncoder, caller: int) -> None:
        own = random.Random(caller)
        while time.monotonic() < end:
            words = own.choices(WORDS[:2000], k=own.choice([1, 1, 1, 1, 2, 8, 20]))
            timeout_s = own.choice([None, None, 5.0, 0.02])
            started = time.monotonic()
            try:
                found = encoder.encode(words, timeout_s=timeout_s)
            except SentritonError as error:
                expected = BAD in words if isinstance(error, InvalidInput) else timeout_s is not None
                if not expected and not isinstance(error, ServerError):
                    raise
            else:
                np.testing.assert_array_equal(found, vectors(words))
                answers[caller] += 1
            assert time.monotonic() - started < SOON_S
            if own.random() < 0.2:
                time.sleep(own.random() * 0.02)

    with SentenceEncoder(server.url) as encoder, ThreadPoolExecutor(64) as pool:
        for caller in [pool.submit(call, encoder, caller) for caller in range(64)]:
            caller.result(seconds + 2 * SOON_S)
        joiner = encoder._session.joiner
        assert (joiner._in_flight, len(joiner._waiting), len(joiner._pausing), len(joiner._members)) == (0, 0, 0, 0)
    assert min(answers) > 0
    assert server.at_once < 64
