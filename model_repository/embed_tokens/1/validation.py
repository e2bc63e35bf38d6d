"""What callers may send, and the sentence they get when it is something else: plain functions, free of Triton."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def has_canary_key(parameters: dict[str, Any], key: str) -> bool:
    """Whether a request carries the `key` to the canary's lane. An empty key opens nothing."""
    given = parameters.get("canary_key")
    return bool(key) and isinstance(given, str) and hmac.compare_digest(given.encode(), key.encode())


def explain_fingerprint(parameters: dict[str, Any], served: str) -> str | None:
    """None, or why the request's optional parameter `fingerprint` forbids an answer from the model served here."""
    asked = parameters.get("fingerprint", served)
    if asked == served:
        return None
    return (
        f"fingerprint mismatch: the request is for model {asked!r}, this server has {served!r}; "
        "vectors of two models must not mix: read the manifest again and embed with one model"
    )


def explain_lane(lane: object, lanes: Sequence[str]) -> str | None:
    """None, or why the request's parameter `lane` names none of `lanes`."""
    if lane in lanes:
        return None
    return f"lane is {lane!r}; allowed are {', '.join(map(repr, lanes))}"


def explain_tokens(
    input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], *, vocab_size: int, max_seq_length: int
) -> str | None:
    """None where `input_ids` and `attention_mask`, both int64 [rows, length], are valid, else one sentence that says
    why not.

    Valid: equal shapes, 1 to max_seq_length long, ids from 0 below vocab_size, mask values 0 (padding), 1 (token) or
    2 (attended and not pooled), and in every row something attended.
    """
    if input_ids.shape != attention_mask.shape:
        return (
            f"attention_mask has shape {list(attention_mask.shape)} and input_ids {list(input_ids.shape)}; "
            "both must have the same shape [rows, length]"
        )
    length = input_ids.shape[1]
    if not 1 <= length <= max_seq_length:
        return (
            f"rows of input_ids are {length} tokens long; allowed are 1 to {max_seq_length} (max_seq_length): truncate"
        )
    if input_ids.min() < 0 or input_ids.max() >= vocab_size:
        where = (input_ids < 0) | (input_ids >= vocab_size)
        return f"input_ids holds {_first(input_ids, where)}; allowed are 0 to {vocab_size - 1} (vocabulary)"
    if attention_mask.min() < 0 or attention_mask.max() > 2:
        where = (attention_mask < 0) | (attention_mask > 2)
        return (
            f"attention_mask holds {_first(attention_mask, where)}; "
            "allowed are 0 (padding), 1 (token) and 2 (attended, not pooled)"
        )
    attended = attention_mask.any(axis=1)
    if not attended.all():
        return f"attention_mask is all zero in row {int(attended.argmin())}; a row must attend to at least one token"
    return None


def _first(values: NDArray[np.int64], where: NDArray[np.bool_]) -> str:
    row, position = np.argwhere(where)[0].tolist()
    return f"{values[row, position]} in row {row} at position {position}"
