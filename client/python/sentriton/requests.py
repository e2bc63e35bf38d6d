"""Which sentences travel together: tokenized a window at a time, cut into requests of rows alike in length, longest
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentriton.tokenization import TextTokenizer, pad_rows

TOKENS_PER_REQUEST = 4096
_WINDOW = 512  # sentences tokenized at a time: enough to sort by length, little enough to start sending at once


@dataclass(frozen=True)
class Rows:
    """The rows of one request: which sentences they are, and their tokens, both int64 [rows, length]."""

    indices: list[int]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]


def plan_requests(
    texts: Sequence[str],
    tokenizer: TextTokenizer,
    *,
    max_rows: int,
    max_tokens: int = TOKENS_PER_REQUEST,
    pad_token_id: int,
    prompt: str = "",
    not_pooled: int = 0,
) -> Iterator[Rows]:
    """Cut `texts` into requests of at most `max_rows` rows and `max_tokens` tokens (padding counted; one row may have
    more).

    Sentences are taken by length in characters first, so that neighbours are alike before they are tokenized, and by
    tokens within a window then.
    """
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    for start in range(0, len(order), _WINDOW):
        window = order[start : start + _WINDOW]
        tokens = tokenizer.tokenize([prompt + texts[index] for index in window])
        by_length = sorted(range(len(window)), key=lambda place: -len(tokens[place]))
        for places in cut([len(tokens[place]) for place in by_length], max_rows, max_tokens):
            chosen = [by_length[place] for place in places]
            input_ids, attention_mask = pad_rows(
                [tokens[place] for place in chosen], pad_token_id=pad_token_id, not_pooled=not_pooled
            )
            yield Rows([window[place] for place in chosen], input_ids, attention_mask)


def cut(lengths: Sequence[int], max_rows: int, max_tokens: int) -> Iterator[range]:
    """Cut falling `lengths` into runs of at most `max_rows` whose padded size is at most `max_tokens`; a run has at
    least one.
    """
    start = 0
    while start < len(lengths):
        rows = max(1, min(max_rows, max_tokens // max(lengths[start], 1)))
        yield range(start, min(start + rows, len(lengths)))
        start += rows
