"""The checks of requests and their error messages. Plain functions, free of Triton."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

REQUIRED_INPUTS = {"input_ids", "row"}
_SHOWN_CHARACTERS = 100  # of a caller's value, because gRPC libraries drop messages of more than 8 KiB


def has_canary_key(parameters: dict[str, Any], key: str) -> bool:
    """Whether a request has the `key` of the canary's lane. An empty key never matches."""
    given = parameters.get("canary_key")
    return bool(key) and isinstance(given, str) and hmac.compare_digest(given.encode(), key.encode())


def explain_inputs(names: Collection[str]) -> str | None:
    """The error of a request without one of the inputs that must be there, or None."""
    if missing := REQUIRED_INPUTS - set(names):
        return f"input {', '.join(sorted(missing))} is missing; input_ids and row must be there"
    return None


def explain_fingerprint(parameters: dict[str, Any], served: str) -> str | None:
    """The error of a request whose optional parameter `fingerprint` names another model, or None."""
    asked = parameters.get("fingerprint", served)
    if asked == served:
        return None
    return (
        f"fingerprint mismatch: the request is for model {_shown(asked)}, this server has {served!r}; "
        "vectors of two models must not mix: read the manifest again and embed with one model"
    )


def explain_lane(lane: object, lanes: Sequence[str]) -> str | None:
    """The error of a request whose parameter `lane` is none of `lanes`, or None."""
    if lane in lanes:
        return None
    return f"lane is {_shown(lane)}; allowed are {', '.join(map(repr, lanes))}"


def explain_tokens(
    input_ids: NDArray[np.int32],
    row: NDArray[np.int32],
    pooled: NDArray[np.bool_],
    *,
    vocab_size: int,
    max_seq_length: int,
    max_rows: int,
) -> str | None:
    """The error of invalid packed rows, `input_ids`, `row` and `pooled` [tokens], or None.

    Rows must be numbered 0, 1, 2 and so on. At most `max_rows` rows are allowed, each with 1 to `max_seq_length`
    tokens. Ids must be from 0 and below vocab_size.
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
    """The error of a request for too many token embeddings, or None. Rows, `row` [tokens], may have `most_tokens` in
    all; a single row may have more.
    """
    if len(row) <= most_tokens or row[-1] == 0:
        return None
    return (
        f"the request asks for the embeddings of {len(row):,} tokens; allowed are {most_tokens:,}: send more requests"
    )


def explain_pooled(row: NDArray[np.int32], pooled: NDArray[np.bool_]) -> str | None:
    """The error of a row without a pooled token, which has no maximum, or None. Both arguments are [tokens]."""
    counts = np.bincount(row, weights=pooled)
    if counts.all():
        return None
    return f"row {int(counts.argmin())} has no token that is pooled; this model pools the maximum of at least one"


def _shown(value: object) -> str:
    """A caller's value for a message, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
