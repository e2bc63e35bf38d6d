"""The checks of callers' requests, and the messages for invalid ones: plain functions, free of Triton."""

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
    input_ids: NDArray[np.int32],
    row: NDArray[np.int32],
    pooled: NDArray[np.bool_],
    *,
    vocab_size: int,
    max_seq_length: int,
    max_rows: int,
) -> str | None:
    """None where packed rows, `input_ids`, `row` and `pooled` [tokens], are valid, else one sentence that says why not.

    Valid: rows numbered 0, 1, 2 and so on, at most `max_rows` of them, each 1 to `max_seq_length` long, and ids from 0
    below vocab_size.
    """
    if not len(input_ids) == len(row) == len(pooled) > 0:
        return (
            f"input_ids has {len(input_ids)} elements, row {len(row)} and pooled {len(pooled)}; each must have one for "
            "every token, and a request at least one token"
        )
    rise = np.diff(row.astype(np.int64), prepend=-1)
    wrong = (rise < 0) | (rise > 1)
    wrong[0] = row[0] != 0
    if wrong.any():
        at = int(wrong.argmax())
        before = f"{row[at - 1]} before it" if at else "no token before it"
        return (
            f"row is {row[at]} at token {at} with {before}; rows are numbered 0, 1, 2 and so on, all tokens of a row "
            "one behind the other"
        )
    if row[-1] >= max_rows:
        return f"the request has {row[-1] + 1} rows; allowed are {max_rows}: send more requests"
    lengths = np.bincount(row)
    if lengths.max() > max_seq_length:
        at = int(lengths.argmax())
        return (
            f"row {at} of input_ids is {lengths[at]} tokens long; allowed are 1 to {max_seq_length} (max_seq_length): "
            "truncate"
        )
    if input_ids.min() < 0 or input_ids.max() >= vocab_size:
        at = int(np.flatnonzero((input_ids < 0) | (input_ids >= vocab_size))[0])
        place = at - int(np.flatnonzero(row == row[at])[0])
        return (
            f"input_ids holds {input_ids[at]} in row {row[at]} at position {place}; "
            f"allowed are 0 to {vocab_size - 1} (vocabulary)"
        )
    return None


def explain_size(row: NDArray[np.int32], *, most_tokens: int) -> str | None:
    """None, or why token embeddings of these rows, `row` [tokens], are too much for one request. A single row may be
    longer than `most_tokens`.
    """
    if len(row) <= most_tokens or row[-1] == 0:
        return None
    return (
        f"the request asks for the embeddings of {len(row):,} tokens; allowed are {most_tokens:,}: send more requests"
    )


def explain_pooled(row: NDArray[np.int32], pooled: NDArray[np.bool_]) -> str | None:
    """None, or why a row of these, both [tokens], has no maximum: none of its tokens is pooled."""
    counts = np.bincount(row, weights=pooled)
    if counts.all():
        return None
    return f"row {int(counts.argmin())} has no token that is pooled; this model pools the maximum of at least one"
