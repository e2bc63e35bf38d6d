"""sentence_transformers.util.quantize_embeddings in numpy, with the same results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from sentriton.allowed import Allowed, one_of
from sentriton.errors import InvalidInput
from sentriton.keywords import StreamPrecision

STREAM_PRECISION = Allowed(
    "float32, binary, ubinary (int8 and uint8 need the ranges of all embeddings: quantize float32 with fixed ranges)",
    one_of(*get_args(StreamPrecision)).holds,
)
_log = logging.getLogger(__name__)


def quantize(embeddings: NDArray[np.float32], precision: str) -> NDArray[Any]:
    """float32 [n, d] to int8 or uint8 [n, d], or to bits packed into int8 (binary) or uint8 (ubinary) [n, ceil(d / 8)].

    int8 and uint8 divide each dimension's range in these embeddings into 256 steps, so compare only vectors of one
    call. A bit is set if a dimension is above zero. Raises `InvalidInput` if one embedding has no range.
    """
    if precision == "float32":
        return embeddings
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
        return bits if precision == "ubinary" else (bits - 128).astype(np.int8)
    check_count(len(embeddings), precision)
    steps = _to_steps(embeddings, precision)
    return steps.astype(np.uint8) if precision == "uint8" else (steps - 128).astype(np.int8)


def quantize_tokens(token_embeddings: Sequence[NDArray[np.float32]], precision: str) -> list[NDArray[Any]]:
    """`quantize` for sentences of [tokens, d] each, with common ranges."""
    if not token_embeddings:
        return []
    ends = np.cumsum([len(tokens) for tokens in token_embeddings])
    return np.split(quantize(np.concatenate(token_embeddings), precision), ends[:-1])


def check_count(count: int, precision: str) -> None:
    if count == 1 and precision in ("int8", "uint8"):
        raise InvalidInput(
            f"precision is {precision!r}, which takes its ranges from the call's embeddings; give more than one "
            "sentence, or precision 'float32', 'binary' or 'ubinary'"
        )


def _to_steps(embeddings: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    if len(embeddings) == 0:
        return embeddings
    if len(embeddings) < 100:
        _log.warning(
            "%s ranges from %d embeddings are rough; embed 100 or more in one call", precision, len(embeddings)
        )
    low, high = embeddings.min(axis=0), embeddings.max(axis=0)
    step = (high - low) / 255
    step = np.where(step == 0, 1, step)
    return np.clip(np.floor((embeddings - low) / step), 0, 255)
