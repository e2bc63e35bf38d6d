"""The light client without torch: arrays have their types. Never run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from sentriton import AsyncSentenceEncoder, SentenceEncoder

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def blocking(encoder: SentenceEncoder, either: str | list[str], array: NDArray[Any]) -> None:
    assert_type(encoder.encode("a"), Vector)
    assert_type(encoder.encode(["a"], normalize_embeddings=True), Matrix)
    assert_type(encoder.encode(either), Vector | Matrix)
    assert_type(encoder.encode(["a", "b"], precision="int8"), np.ndarray[tuple[int, int], np.dtype[np.int8]])
    assert_type(encoder.similarity(encoder.encode("a"), encoder.encode(["a"])), Matrix)
    encoder.similarity("a", "b")  # refused
    encoder.similarity_pairwise(["a"], ["b"])  # refused
    embedded: Matrix = encoder.encode(array)
    assert_type(embedded, Matrix)
    for embeddings in encoder.encode_stream(["a"]):
        assert_type(embeddings, Matrix)


async def asyncio(encoder: AsyncSentenceEncoder) -> None:
    assert_type(await encoder.encode("a"), Vector)
    assert_type(await encoder.encode_query(["a"]), Matrix)
