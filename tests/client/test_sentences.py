"""The sentences that `encode` accepts and rejects, with both clients and both names of the argument."""

from __future__ import annotations

import itertools
import time
from collections import ChainMap, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sentriton import DeadlineExceeded, InvalidInput, SentenceEncoder
from tests.event_loop import InEventLoop
from tests.small_server import WORDS, SmallServer, vectors

THREE = WORDS[:3]
Named = Enum("Named", {word.upper(): word for word in THREE}, type=str)


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    with SmallServer() as server:
        yield server


@pytest.fixture(scope="module", params=[SentenceEncoder, InEventLoop], ids=["sync", "async"])
def encoder(request: pytest.FixtureRequest, server: SmallServer) -> Iterator[Any]:
    with closing(request.param(server.url)) as encoder:
        yield encoder


@pytest.mark.parametrize(
    "given",
    [
        np.array(THREE),
        np.array(THREE, dtype=object),
        [np.str_(word) for word in THREE],
        list(Named),
        pd.Series(THREE, index=["c", "a", "b"]),
        pd.Index(THREE),
        pd.array(THREE, dtype="string"),
        pd.Categorical(THREE),
        pd.DataFrame({"text": THREE})["text"],
        dict(enumerate(THREE)).values(),
    ],
    ids=lambda given: type(given).__name__,
)
def test_sentences_in_an_order_are_taken(given: Any, encoder: Any) -> None:
    np.testing.assert_array_equal(encoder.encode(given), vectors(THREE))
    np.testing.assert_array_equal(np.concatenate(list(encoder.encode_stream(given))), vectors(THREE))


MAPPING = {word: place for place, word in enumerate(THREE)}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (MAPPING, r"is a mapping \(dict\); give a list of its keys or of its values"),
        (OrderedDict(MAPPING), r"is a mapping \(OrderedDict\)"),
        (ChainMap(MAPPING), r"is a mapping \(ChainMap\)"),
        (MappingProxyType(MAPPING), r"is a mapping \(mappingproxy\)"),
        (set(THREE), r"is a set \(set\), which has no order; give a list"),
        (frozenset(THREE), r"is a set \(frozenset\)"),
        (MAPPING.keys(), r"is a set \(dict_keys\)"),
        (pd.DataFrame({word: [1] for word in THREE}), r"is a DataFrame of shape \(1, 3\); give one column"),
        (pa.table({word: [1] for word in THREE}), r"is a Table of shape \(1, 3\); give one column"),
        (np.array([THREE]), r"is a ndarray of shape \(1, 3\); give one column"),
        (np.array("w1"), r"is a ndarray of shape \(\)"),
        (b"w1", "is b'w1'; give a string or an iterable of strings"),
        (bytearray(b"w1"), "give a string or an iterable of strings"),
        (memoryview(b"w1"), "give a string or an iterable of strings"),
        (3, "is 3; give a string"),
        (["w1", b"w2"], r"\[1\] is b'w2' \(bytes\); every sentence must be a string"),
        (np.array([b"w1"]), r"\[0\] is b'w1' \(bytes_\)"),
        (pd.Series(["w1", None]), r"\[1\] is None \(NoneType\)"),
        (pd.Series(["w1", np.nan]), r"\[1\] is nan \(float\)"),
        (pd.array(["w1", pd.NA], dtype="string"), r"\[1\] is <NA> \(NAType\)"),
        (pd.Index(["w1", pd.NaT]), r"\[1\] is NaT \(NaTType\)"),
        (np.ma.array(["w1", "w2"], mask=[False, True]), r"\[1\] is masked \(MaskedConstant\)"),
        (pa.array(["w1"]), r"\[0\] is <pyarrow.StringScalar: 'w1'> \(StringScalar\)"),
        (["x" * 10**6, {"w1": "x" * 10**6}], r"\[1\] is {'w1': 'x{1,200} \(dict\)"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_has_no_order_or_no_strings_is_refused(given: Any, says: str, encoder: Any) -> None:
    require_refusal(given, says, encoder)


def test_a_tensor_is_refused(server: SmallServer) -> None:
    import torch  # here, since it takes seconds and no other test of the client needs it

    with SentenceEncoder(server.url) as encoder:
        require_refusal(torch.ones(2, 3), r"is a Tensor of shape \(2, 3\)", encoder)


def require_refusal(given: Any, says: str, encoder: Any) -> None:
    """Every method rejects these sentences, under either name of the argument."""
    for method in (encoder.encode, encoder.encode_query, encoder.encode_document):
        with pytest.raises(InvalidInput, match=f"^sentences.*{says}"):
            method(given)
        with pytest.raises(InvalidInput, match=f"^inputs.*{says}"):
            method(inputs=given)
    with pytest.raises(InvalidInput, match=says):
        list(encoder.encode_stream(given))


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_the_first_argument_has_two_names(method: str, encoder: Any) -> None:
    encode = getattr(encoder, method)
    for found in (encode(THREE), encode(sentences=THREE), encode(inputs=THREE), encode(inputs=iter(THREE))):
        np.testing.assert_array_equal(found, vectors(THREE))
    np.testing.assert_array_equal(encode(inputs="w7"), vectors(["w7"])[0])
    with pytest.raises(InvalidInput, match=r"sentences and inputs are two names.*; give one of them"):
        encode(THREE, inputs=THREE)
    with pytest.raises(InvalidInput, match="sentences is None; give a string or an iterable of strings"):
        encode()


def test_an_endless_iterable_of_anything_else_is_refused_at_once(encoder: Any) -> None:
    with pytest.raises(InvalidInput, match=r"sentences\[0\] is 0 \(int\)"):
        encoder.encode(itertools.count())


def test_reading_an_endless_iterable_ends_with_the_calls_time(encoder: Any) -> None:
    with pytest.raises(DeadlineExceeded, match=r"timeout_s of 0\.2 s"):
        encoder.encode(itertools.repeat("w1"), timeout_s=0.2)
    with pytest.raises(DeadlineExceeded, match=r"timeout_s of 0\.2 s"):
        encoder.encode((time.sleep(0.05) or "w1" for _ in itertools.count()), timeout_s=0.2)


def test_an_endless_iterable_may_be_streamed(encoder: Any) -> None:
    stream = encoder.encode_stream(itertools.cycle(THREE), chunk_size=3)
    for _ in range(5):
        np.testing.assert_array_equal(next(stream), vectors(THREE))
    stream.close()


@pytest.mark.parametrize("precision", ["int8", "uint8", "int4", 8, "", 0, False])
def test_a_stream_refuses_a_precision_with_ranges_of_each_chunk(precision: object, encoder: Any) -> None:
    given = iter(THREE)
    with pytest.raises(
        InvalidInput, match=rf"^precision is {precision!r}; allowed are float32, binary, ubinary \(int8"
    ):
        next(encoder.encode_stream(given, precision=precision, chunk_size=2))
    assert list(given) == THREE, "the stream read before it checked its options"


@pytest.mark.parametrize("precision", [None, "float32", "binary", "ubinary"])
def test_a_precision_of_a_stream_is_that_of_encode(precision: object, encoder: Any) -> None:
    streamed = np.concatenate(list(encoder.encode_stream(THREE, precision=precision, chunk_size=2)))
    np.testing.assert_array_equal(streamed, encoder.encode(THREE, precision=precision))


@pytest.mark.parametrize("of", [lambda encoder: encoder.encode, lambda encoder: encoder.encode_stream])
def test_an_error_of_the_callers_own_generator_is_the_callers(of: Callable[[Any], Any], encoder: Any) -> None:
    def broken() -> Iterator[str]:
        yield "w1"
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(of(encoder)(broken()))
    np.testing.assert_array_equal(encoder.encode(THREE), vectors(THREE))
