"""`SentenceEncoder` and `AsyncSentenceEncoder` against `SentenceTransformer`: the same call, the same result.
Every test runs on both.
"""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from sentriton import (
    AsyncSentenceEncoder,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SentenceEncoder,
    SentritonError,
    ServerUnavailable,
)
from tests.checkpoints import make_checkpoint
from tests.event_loop import InEventLoop
from tests.faults.proxy import FaultyProxy
from tests.server.conftest import RunningServer, load_reference, serving

SENTENCES = [
    "숙소가 역에서 가까워서 편했어요.",
    "",
    "지하철역과 가까운 숙소였습니다.",
    "아주 긴 문장 " * 100,
    "A sentence in English.",
    "👍🏽 좋아요 🎉",
]
MANY = [f"{number}번째 문장 " + "이다 " * (number % 17) for number in range(150)]


@pytest.fixture
def encoder(connect: Callable[..., Any], server: RunningServer) -> Iterator[Any]:
    with closing(connect(server.url)) as encoder:
        yield encoder


def close(ours: Any, theirs: Any) -> None:
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"normalize_embeddings": True}, {"truncate_dim": 16}, {"truncate_dim": 16, "normalize_embeddings": True}],
    ids=str,
)
def test_encode_equals_sentence_transformers(
    options: dict[str, Any], encoder: Any, reference: SentenceTransformer
) -> None:
    close(encoder.encode(SENTENCES, batch_size=4, **options), reference.encode(SENTENCES, **options))


@pytest.mark.parametrize("options", [{}, {"convert_to_numpy": False}, {"convert_to_tensor": True}], ids=str)
@pytest.mark.parametrize("sentences", [SENTENCES, SENTENCES[:1], SENTENCES[0]], ids=["many", "one", "string"])
@pytest.mark.parametrize("output_value", ["sentence_embedding", "token_embeddings"])
def test_types_are_those_of_sentence_transformers(
    output_value: Any, sentences: Any, options: dict[str, Any], encoder: Any, reference: SentenceTransformer
) -> None:
    ours, theirs = (model.encode(sentences, output_value=output_value, **options) for model in (encoder, reference))
    assert type(ours) is type(theirs)
    assert len(ours) == len(theirs)
    for our_row, their_row in zip(ours, theirs, strict=True):
        assert type(our_row) is type(their_row)
        assert our_row.shape == their_row.shape
        np.testing.assert_allclose(np.asarray(our_row), np.asarray(their_row), atol=5e-5)


@pytest.mark.parametrize("output_value", ["sentence_embedding", "token_embeddings"])
@pytest.mark.parametrize("precision", [None, "int8", "uint8", "binary", "ubinary"])
def test_precisions_equal_sentence_transformers(
    precision: Any, output_value: Any, encoder: Any, reference: SentenceTransformer
) -> None:
    ours, theirs = (
        model.encode(MANY, precision=precision, output_value=output_value) for model in (encoder, reference)
    )
    assert type(ours) is type(theirs)
    assert type(ours[0]) is type(theirs[0])
    ours, theirs = np.concatenate([*map(np.atleast_2d, ours)]), np.concatenate([*map(np.atleast_2d, theirs)])
    assert ours.dtype == theirs.dtype
    if precision is None:
        close(ours, theirs)
    elif precision.endswith("int8"):
        # A value at the edge of a step may fall to either side.
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
        assert (ours == theirs).mean() > 0.99
    else:
        bits = np.unpackbits(ours.view(np.uint8)) == np.unpackbits(theirs.view(np.uint8))
        assert bits.mean() > 0.999


@pytest.mark.parametrize(
    "as_input",
    [np.array, iter, tuple, lambda sentences: Dataset.from_dict({"text": sentences})["text"]],
    ids=["array", "iterator", "tuple", "datasets column"],
)
def test_any_iterable_of_strings(as_input: Any, encoder: Any, reference: SentenceTransformer) -> None:
    close(encoder.encode(as_input(SENTENCES)), reference.encode(SENTENCES))


def test_no_sentence_gives_no_row(encoder: Any) -> None:
    assert encoder.encode([]).shape == (0, encoder.manifest.dimension)
    assert encoder.encode([], precision="binary", truncate_dim=12).shape == (0, 2)
    assert encoder.encode([], convert_to_tensor=True).shape == (0, encoder.manifest.dimension)
    assert encoder.encode([], output_value="token_embeddings") == []


def test_order_is_kept_over_many_requests(encoder: Any, reference: SentenceTransformer) -> None:
    close(encoder.encode(iter(MANY), batch_size=8), reference.encode(MANY))


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize(
    "given", [np.asarray, torch.from_numpy, lambda rows: list(torch.from_numpy(rows))], ids=["array", "tensor", "list"]
)
def test_similarity_equals_sentence_transformers(
    given: Any, name: Any, encoder: Any, reference: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "similarity_fn_name", name)
    encoder.similarity_fn_name = name
    rows = encoder.encode(SENTENCES)
    first, second = given(rows), given(rows[::-1].copy())
    for ours, theirs in (
        (encoder.similarity(first, second[:3]), reference.similarity(first, second[:3])),
        (encoder.similarity(first[0], second), reference.similarity(first[0], second)),
        (encoder.similarity_pairwise(first, second), reference.similarity_pairwise(first, second)),
    ):
        assert isinstance(ours, np.ndarray if given is np.asarray else torch.Tensor)
        # sentence-transformers' distances go through a matrix product, which loses digits near zero.
        np.testing.assert_allclose(ours, theirs, atol=5e-3 if name == "euclidean" else 2e-4)


def test_rows_of_different_models_are_not_compared(encoder: Any) -> None:
    with pytest.raises(InvalidInput, match=r"\(2, 8\) and \(3, 4\) cannot be compared"):
        encoder.similarity(np.ones((2, 8)), np.ones((3, 4)))
    with pytest.raises(InvalidInput, match=r"\(2, 8\) and \(3, 8\) cannot be paired"):
        encoder.similarity_pairwise(np.ones((2, 8)), np.ones((3, 8)))


def test_info_is_the_manifest_and_health_the_canary(encoder: Any) -> None:
    report = encoder.health()
    assert encoder.info() == encoder.manifest == report.manifest
    assert encoder.manifest.min_cosine - 1e-6 <= report.min_cosine <= 1 + 1e-6


def test_health_has_a_time_of_its_own(encoder: Any) -> None:
    with pytest.raises((DeadlineExceeded, Overloaded)):  # the server may be the first to say that the time is over
        encoder.health(timeout_s=1e-6)
    with pytest.raises(InvalidInput, match="timeout_s is 0; allowed are numbers above 0"):
        encoder.health(timeout_s=0)


ONE_SENTENCE = {"sentences": "x"}
WHOLE = "allowed are a whole number of at least 1"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sentences": None}, "sentences is None; give a string or an iterable of strings"),
    ({"sentences": 3}, "sentences is 3; give a string"),
    ({"sentences": b"bytes"}, "sentences is b'bytes'; give a string"),
    ({"sentences": ["fine", 3]}, r"sentences\[1\] is 3 \(int\); every sentence must be a string"),
    ({"sentences": [None]}, r"sentences\[0\] is None \(NoneType\)"),
    ({"sentences": np.array([["a", "b"]])}, r"sentences is a ndarray of shape \(1, 2\); give one column"),
    ({"sentences": ["가", "나다\ud800"]}, r"sentences\[1\] has the lone surrogate '\\ud800' at character 2"),
    ({"sentences": "\udfff"}, r"sentences has the lone surrogate '\\udfff' at character 0"),
    ({"batch_size": 0}, f"batch_size is 0; {WHOLE}"),
    ({"batch_size": "3"}, f"batch_size is '3'; {WHOLE}"),
    ({"batch_size": True}, f"batch_size is True; {WHOLE}"),
    ({"batch_size": 2.5}, f"batch_size is 2.5; {WHOLE}"),
    ({"prompt_name": "qury"}, "prompt_name is 'qury'; the model's prompts are 'document', 'query'"),
    ({"prompt_name": ["query"]}, r"prompt_name is \['query'\]; the model's prompts are"),
    ({"prompt": 3}, r"prompt is 3 \(int\); give a string or None"),
    ({"prompt": "\ud800"}, "prompt has the lone surrogate"),
    ({"truncate_dim": 0}, "truncate_dim is 0; allowed are 1 to 256"),
    ({"truncate_dim": -1}, "truncate_dim is -1; allowed are 1 to 256"),
    ({"truncate_dim": 257}, "truncate_dim is 257; allowed are 1 to 256"),
    ({"truncate_dim": False}, "truncate_dim is False; allowed are 1 to 256"),
    ({"precision": "int4"}, "precision is 'int4'; allowed are float32, int8, uint8, binary, ubinary"),
    ({"precision": "int8"}, "precision is 'int8', which takes its ranges from the call's .*more than one sentence"),
    ({"output_value": "pooled"}, "output_value is 'pooled'; allowed are sentence_embedding, token_embeddings"),
    ({"output_value": None}, "output_value is None; allowed are"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[ascii(arguments) for arguments, _ in WRONG])
def test_wrong_arguments_name_themselves(
    arguments: dict[str, Any], says: str, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentriton.protocol.tokens_request", lambda *_, **__: pytest.fail("a request was made"))
    for method in (encoder.encode, encoder.encode_query, encoder.encode_document):
        with pytest.raises(InvalidInput, match=says):
            method(**{**ONE_SENTENCE, **arguments})


def test_whole_numbers_of_numpy_are_taken(encoder: Any) -> None:
    assert encoder.encode("x", batch_size=np.int64(2), truncate_dim=np.int32(8)).shape == (8,)


def test_unknown_similarity_names_itself(encoder: Any) -> None:
    with pytest.raises(InvalidInput, match="similarity_fn_name is 'cosin'; allowed are cosine, dot"):
        encoder.similarity_fn_name = "cosin"


def test_a_deadline_too_short_is_its_own_error(encoder: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        encoder.encode(SENTENCES * 50, timeout_s=0.001)


def test_a_closed_encoder_says_so(server: RunningServer) -> None:
    encoder = SentenceEncoder(server.url)
    encoder.close()
    for late in (lambda: encoder.encode("too late"), encoder.info, encoder.health):
        with pytest.raises(SentritonError, match="this encoder is closed"):
            late()


def test_an_async_encoder_connects_when_it_is_used_and_says_when_it_is_not(server: RunningServer) -> None:
    async def call() -> None:
        encoder = AsyncSentenceEncoder(server.url)
        with pytest.raises(SentritonError, match=r"not connected yet; await its connect\(\)"):
            encoder.tokenize(["문장"])
        assert (await encoder.encode("문장")).shape == (encoder.manifest.dimension,)
        await encoder.close()
        for closed in (encoder, AsyncSentenceEncoder(server.url)):
            await closed.close()
            for late in (partial(closed.encode, "too late"), closed.info, closed.health):
                with pytest.raises(SentritonError, match="this encoder is closed"):
                    await late()

    asyncio.run(call())


# In a process of its own: a child that hung would be a second pytest.
FORK = """
import os, signal, sys
from sentriton import SentenceEncoder, SentritonError

with SentenceEncoder(sys.argv[1], timeout_s=10) as encoder:
    before = encoder.encode("the same")
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert (encoder.encode("the same") == before).all(), "the parent goes on"
        raise SystemExit(os.waitstatus_to_exitcode(status))
    signal.alarm(20)
    code = 1
    try:
        encoder.encode("the same")
    except SentritonError as error:
        assert "does not survive a fork" in str(error)
        with SentenceEncoder(sys.argv[1], timeout_s=10) as own:
            code = 0 if (own.encode("the same") == before).all() else 2
    finally:
        os._exit(code)
"""


def test_an_encoder_does_not_survive_a_fork_and_a_new_one_works_in_the_child(server: RunningServer) -> None:
    ended = subprocess.run([sys.executable, "-c", FORK, server.url], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("method", ["encode", "encode_stream"])
def test_closing_ends_a_call_that_is_under_way_and_says_so(method: str, server: RunningServer) -> None:
    encoder = SentenceEncoder(server.url)
    closer = threading.Thread(target=when_busy, args=(encoder, encoder.close))
    closer.start()
    with pytest.raises(SentritonError, match="this encoder is closed"):
        list(getattr(encoder, method)(MANY * 200))
    closer.join()


@pytest.mark.parametrize("method", ["encode", "encode_stream"])
def test_closing_ends_an_async_call_that_is_under_way_and_says_so(method: str, server: RunningServer) -> None:
    async def call() -> None:
        encoder = AsyncSentenceEncoder(server.url)
        embeddings = getattr(encoder, method)(MANY * 200)
        if method == "encode":
            await asyncio.gather(embeddings, when_busy_async(encoder, encoder.close))
        else:
            closer = asyncio.create_task(when_busy_async(encoder, encoder.close))
            async for _ in embeddings:
                pass
            await closer

    with pytest.raises(SentritonError, match="this encoder is closed"):
        asyncio.run(call())


def test_cancelling_a_task_cancels_its_requests(server: RunningServer) -> None:
    async def call() -> None:
        async with AsyncSentenceEncoder(server.url) as encoder:
            before = server.published("sentriton_rows_total", lane="query")
            task = asyncio.create_task(encoder.encode(MANY * 200))
            await when_busy_async(encoder, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
            while in_flight(encoder):
                await asyncio.sleep(0.01)
            # Another call is served, and the rest of the cancelled one is never computed.
            assert (await encoder.encode(MANY)).shape == (len(MANY), encoder.manifest.dimension)
            assert server.published("sentriton_rows_total", lane="query") - before < 100 * len(MANY)

    asyncio.run(call())


def in_flight(encoder: Any) -> int:
    endpoints = encoder._session.endpoints
    return sum(endpoint.in_flight for endpoint in endpoints.all) if endpoints else 0


def when_busy(encoder: SentenceEncoder, action: Callable[[], Any]) -> None:
    """Does something once requests are under way."""
    while not in_flight(encoder):
        time.sleep(0.01)
    action()


async def when_busy_async(encoder: AsyncSentenceEncoder, action: Callable[[], Any]) -> None:
    while not in_flight(encoder):
        await asyncio.sleep(0.01)
    done = action()
    if inspect.isawaitable(done):
        await done


def test_a_connection_may_take_its_time(connect: Callable[..., Any], server: RunningServer) -> None:
    with FaultyProxy(server.url) as proxy:
        stall = threading.Thread(target=proxy.stall, args=(1.0,))
        stall.start()
        with closing(connect(proxy.url, timeout_s=20)) as encoder:
            assert encoder.encode("문장").shape == (256,)
        stall.join()


def test_nobody_there_is_its_own_error(connect: Callable[..., Any]) -> None:
    with pytest.raises(ServerUnavailable, match=r"^no answer from 127\.0\.0\.1:9: .*is it running\?"):
        connect("127.0.0.1:9", timeout_s=5)


def test_stream_keeps_order_and_reads_little_ahead(encoder: Any, reference: SentenceTransformer) -> None:
    read, taken = 0, []

    def source() -> Iterator[str]:
        nonlocal read
        for sentence in MANY:
            read += 1
            yield sentence

    stream = encoder.encode_stream(source(), chunk_size=20, normalize_embeddings=True)
    assert read == 0
    for chunk in stream:
        assert read - 20 * len(taken) <= 40
        taken.append(chunk)
    assert [len(chunk) for chunk in taken] == [20] * 7 + [10]
    close(np.concatenate(taken), reference.encode(MANY, normalize_embeddings=True))


def test_stream_of_an_async_iterable(server: RunningServer, reference: SentenceTransformer) -> None:
    read, taken = 0, []

    async def source() -> AsyncIterator[str]:
        nonlocal read
        for sentence in MANY:
            read += 1
            yield sentence

    with closing(InEventLoop(server.url)) as encoder:
        for chunk in encoder.encode_stream(source(), chunk_size=20):
            assert read - 20 * len(taken) <= 40
            taken.append(chunk)
    close(np.concatenate(taken), reference.encode(MANY))


def test_a_stream_may_be_left(encoder: Any) -> None:
    stream = encoder.encode_stream(MANY, chunk_size=10)
    first = next(stream)
    stream.close()
    close(encoder.encode(MANY[:10]), first)


def test_leaving_a_stream_cancels_what_is_under_way(connect: Callable[..., Any], server: RunningServer) -> None:
    before, size = server.published("sentriton_rows_total", lane="query"), 1500
    # Two chunks are under way; the second takes longer, and has most of its requests before it when the first is done.
    sentences = ["짧다"] * size + ["아주 긴 문장 " * 40] * size
    with closing(connect(server.url, max_in_flight=1)) as encoder:
        stream = encoder.encode_stream(sentences, chunk_size=size)
        next(stream)
        stream.close()
        encoder.encode("문장")
    computed = server.published("sentriton_rows_total", lane="query") - before
    assert size < computed < 2 * size, "the second chunk was computed although nobody waited for it"


def test_a_stream_of_nothing(encoder: Any) -> None:
    assert list(encoder.encode_stream([])) == []


def test_a_stream_names_what_is_wrong_and_where(encoder: Any) -> None:
    stream = encoder.encode_stream([*MANY[:20], "fine", 3], chunk_size=10)
    assert [len(next(stream)) for _ in range(2)] == [10, 10]
    with pytest.raises(InvalidInput, match=r"sentences\[1\] is 3 \(int\).*, counted from sentence 20 of the stream$"):
        next(stream)


@pytest.fixture(scope="module")
def prompted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, SentenceTransformer]]:
    """A checkpoint with everything at once: prompts left out of pooling, two poolings side by side, Dense,
    Normalize.
    """
    folder = tmp_path_factory.mktemp("prompted")
    checkpoint = make_checkpoint(
        folder,
        pooling=("mean", "max"),
        include_prompt=False,
        further_modules=[Dense(64, 24)],
        normalize=True,
        architecture="bert",
    )
    model = SentenceTransformer(str(checkpoint), prompts={"query": "the quick ", "passage": "a fox "}, device="cpu")
    model.default_prompt_name = "passage"
    model.save(str(checkpoint), create_model_card=False)
    with serving(Path(checkpoint)) as server:
        yield server.url, load_reference(checkpoint)


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
@pytest.mark.parametrize(
    "options",
    [{}, {"prompt_name": "query"}, {"prompt": "home and back "}, {"prompt": ""}, {"prompt": "a ", "prompt_name": "?"}],
    ids=str,
)
def test_prompts_equal_sentence_transformers(
    options: dict[str, Any],
    method: str,
    connect: Callable[..., Any],
    prompted_server: tuple[str, SentenceTransformer],
) -> None:
    url, reference = prompted_server
    sentences = ["a brown fox runs", "한국 어 문장", "", "again " * 40]
    with closing(connect(url)) as encoder:
        close(getattr(encoder, method)(sentences, **options), getattr(reference, method)(sentences, **options))
        tokens = getattr(encoder, method)(sentences, output_value="token_embeddings", **options)
        expected = getattr(reference, method)(sentences, output_value="token_embeddings", **options)
        for ours, theirs in zip(tokens, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=5e-5)
