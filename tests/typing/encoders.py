"""Calls that type checkers accept, with the expected types. test_typing.py checks this file, which never runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import assert_type

from sentriton import AsyncSentenceEncoder, HealthReport, Manifest, SentenceEncoder
from sentriton.keywords import (
    Common,
    EncodeArguments,
    EncodedMany,
    EncodedOne,
    Sentences,
    StreamArguments,
    StreamPrecision,
)

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
VectorInt8 = np.ndarray[tuple[int], np.dtype[np.int8]]
MatrixInt8 = np.ndarray[tuple[int, int], np.dtype[np.int8]]
VectorUint8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
MatrixUint8 = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


def settings() -> None:
    SentenceEncoder()
    SentenceEncoder("localhost:8001", timeout_s=3, priority="bulk", on_model_change="reload", tls=True)
    AsyncSentenceEncoder(url="localhost:8001", max_in_flight=4, access_key=None)
    with SentenceEncoder() as encoder:
        assert_type(encoder, SentenceEncoder)


def one_or_several(encoder: SentenceEncoder, one: str, several: list[str], either: str | list[str]) -> None:
    assert_type(encoder.encode(one), Vector)
    assert_type(encoder.encode(several), Matrix)
    assert_type(encoder.encode(sentences=one), Vector)
    assert_type(encoder.encode(sentences=several), Matrix)
    assert_type(encoder.encode(inputs=one), Vector)
    assert_type(encoder.encode(inputs=several), Matrix)
    assert_type(encoder.encode(either), Vector | Matrix)
    assert_type(encoder.encode(inputs=either), Vector | Matrix)


def annotated_by_callers(
    encoder: SentenceEncoder, sentences: Sentences, options: EncodeArguments, common: Common
) -> None:
    assert_type(encoder.encode(sentences), Vector | Matrix)
    assert_type(encoder.encode(inputs=sentences), Vector | Matrix)
    assert_type(encoder.encode("a", **options), EncodedOne)
    assert_type(encoder.encode(["a"], **options), EncodedMany)
    assert_type(encoder.encode(sentences, **options), EncodedOne | EncodedMany)
    assert_type(encoder.encode(["a"], **common), Matrix)


def streams_annotated_by_callers(
    encoder: SentenceEncoder, options: StreamArguments, common: Common, precision: StreamPrecision
) -> None:
    for embeddings in encoder.encode_stream(["a"], **options):
        assert_type(embeddings, EncodedMany)
    for embeddings in encoder.encode_stream(["a"], precision=precision):
        assert_type(embeddings, EncodedMany)
    for matrix in encoder.encode_stream(["a"], **common):
        assert_type(matrix, Matrix)
    assert_type(encoder.encode(["a"], **options), EncodedMany)


def any_iterable(
    encoder: SentenceEncoder,
    iterable: Iterable[str],
    sequence: Sequence[str],
    iterator: Iterator[str],
    array: NDArray[np.str_],
    by_name: dict[int, str],
) -> None:
    assert_type(encoder.encode(iterable), Matrix)
    assert_type(encoder.encode(sequence), Matrix)
    assert_type(encoder.encode(iterator), Matrix)
    assert_type(encoder.encode(array), Matrix)
    assert_type(encoder.encode(by_name.values()), Matrix)
    assert_type(encoder.encode(text for text in iterable), Matrix)
    assert_type(encoder.encode(("A first sentence.", "And a second one.")), Matrix)


def prompts_and_plain_options(encoder: SentenceEncoder, name: str | None, flag: bool) -> None:
    assert_type(encoder.encode("a", "query"), Vector)
    assert_type(encoder.encode(["a"], prompt_name=name, prompt=name), Matrix)
    assert_type(encoder.encode("a", batch_size=8, truncate_dim=np.int64(64), normalize_embeddings=flag), Vector)
    assert_type(encoder.encode("a", show_progress_bar=flag, timeout_s=3, device="cpu", pool=None), Vector)
    assert_type(encoder.encode("a", precision=None, convert_to_numpy=True, convert_to_tensor=False), Vector)


def precisions(encoder: SentenceEncoder) -> None:
    assert_type(encoder.encode("a", precision="float32"), Vector)
    assert_type(encoder.encode("a", precision="binary"), VectorInt8)
    assert_type(encoder.encode(["a", "b"], precision="int8"), MatrixInt8)
    assert_type(encoder.encode("a", precision="ubinary"), VectorUint8)
    assert_type(encoder.encode(inputs=["a", "b"], precision="uint8"), MatrixUint8)


def tensors(encoder: SentenceEncoder) -> None:
    assert_type(encoder.encode("a", convert_to_tensor=True), Tensor)
    assert_type(encoder.encode(["a"], convert_to_tensor=True), Tensor)
    assert_type(encoder.encode("a", convert_to_numpy=False), Tensor)
    assert_type(encoder.encode(["a"], convert_to_numpy=False), list[Tensor])
    assert_type(encoder.encode(["a"], convert_to_tensor=True, precision="int8"), Tensor)
    assert_type(encoder.encode("a", convert_to_numpy=False, precision="uint8"), Tensor)
    assert_type(encoder.encode(["a"], convert_to_numpy=False, precision="uint8"), list[Tensor])


def token_embeddings(encoder: SentenceEncoder) -> None:
    """Tensors, or arrays where torch is not installed."""
    assert_type(encoder.encode("a", output_value="token_embeddings"), Tensor | Matrix)
    assert_type(encoder.encode(inputs=["a"], output_value="token_embeddings"), list[Tensor] | list[Matrix])


def unknown_options(encoder: SentenceEncoder, flag: bool) -> None:
    """A union of all results, without `Any`: a type checker asks for a check before it is used."""
    encoded = encoder.encode(["a"], convert_to_tensor=flag)
    if isinstance(encoded, Tensor):
        assert_type(encoded, Tensor)


def queries_and_documents(encoder: SentenceEncoder) -> None:
    assert_type(encoder.encode_query("a"), Vector)
    assert_type(encoder.encode_query(inputs=["a"], truncate_dim=8), Matrix)
    assert_type(encoder.encode_document("a", precision="binary"), VectorInt8)
    assert_type(encoder.encode_document(["a"], convert_to_tensor=True), Tensor)


def streams(encoder: SentenceEncoder, sentences: Iterable[str]) -> None:
    for embeddings in encoder.encode_stream(sentences, chunk_size=100, prompt_name="query", normalize_embeddings=True):
        assert_type(embeddings, Matrix)
    for bits in encoder.encode_stream(inputs=sentences, precision="ubinary"):
        assert_type(bits, MatrixUint8)
    for tensor in encoder.encode_stream(sentences, convert_to_tensor=True, precision="binary"):
        assert_type(tensor, Tensor)
    for tensors in encoder.encode_stream(sentences, convert_to_numpy=False, precision="ubinary"):
        assert_type(tensors, list[Tensor])
    for tokens in encoder.encode_stream(sentences, output_value="token_embeddings"):
        assert_type(tokens, list[Tensor] | list[Matrix])
    encoder.encode_stream(sentences).close()


def similarities(encoder: SentenceEncoder, tensor: Tensor, doubles: NDArray[np.float64]) -> None:
    one, several = encoder.encode("a"), encoder.encode(["a", "b"])
    assert_type(encoder.similarity(one, several), Matrix)
    assert_type(encoder.similarity_pairwise(several, several), Vector)
    assert_type(encoder.similarity([[1.0, 2.0]], doubles), Matrix | np.ndarray[tuple[int, int], np.dtype[np.float64]])
    assert_type(encoder.similarity(tensor, tensor), Tensor)
    assert_type(encoder.similarity([tensor], several), Tensor)
    assert_type(encoder.similarity(several, tensor), Tensor)
    assert_type(encoder.similarity_pairwise(tensor, tensor), Tensor)


def the_served_model(encoder: SentenceEncoder) -> None:
    assert_type(encoder.manifest, Manifest)
    assert_type(encoder.info(), Manifest)
    assert_type(encoder.health(timeout_s=5), HealthReport)
    assert_type(encoder.prompts, dict[str, str])
    assert_type(encoder.token_ids(["a"]), list[list[int]])
    encoder.similarity_fn_name = "dot"


async def asyncio_has_the_same_types(
    encoder: AsyncSentenceEncoder, several: list[str], stream: AsyncIterator[str], either: str | list[str]
) -> None:
    assert_type(await encoder.encode("a"), Vector)
    assert_type(await encoder.encode(several), Matrix)
    assert_type(await encoder.encode(inputs=either), Vector | Matrix)
    assert_type(await encoder.encode(several, "query", precision="int8"), MatrixInt8)
    assert_type(await encoder.encode_query(inputs="a", convert_to_tensor=True), Tensor)
    assert_type(await encoder.encode_document(several, precision="ubinary"), MatrixUint8)
    async for embeddings in encoder.encode_stream(stream, chunk_size=100):
        assert_type(embeddings, Matrix)
    async for bits in encoder.encode_stream(inputs=several, precision="binary"):
        assert_type(bits, MatrixInt8)
    await encoder.encode_stream(several).aclose()
    assert_type(encoder.similarity(await encoder.encode("a"), await encoder.encode(several)), Matrix)
    assert_type(await encoder.info(), Manifest)
    assert_type(await encoder.health(), HealthReport)
