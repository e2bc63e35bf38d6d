"""Divides sentences into requests: tokenizes by windows and joins rows of similar length, longest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentriton.errors import InvalidInput
from sentriton.tokenization import PackedRows, TextTokenizer, pack_rows

TOKENS_PER_REQUEST = 4096
_WINDOWS = 64, 512  # sentences tokenized at a time: few at first, so that the server starts early


@dataclass(frozen=True)
class RequestRows:
    """The rows of one request: the indices of their sentences, and their tokens."""

    indices: list[int]
    tokens: PackedRows


def plan_requests(
    texts: Sequence[str], tokenizer: TextTokenizer, *, max_rows: int, prompt: str = "", not_pooled: int = 0
) -> Iterator[RequestRows]:
    """Cut `texts` into requests of at most `max_rows` rows and 4,096 tokens (one row may have more). They are
    sorted by characters, then within a window by tokens. Raises `InvalidInput` for a text without a token.
    """
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    start, (size, most) = 0, _WINDOWS
    while window := order[start : start + size]:
        start, size = start + size, min(2 * size, most)
        tokens = tokenizer.tokenize([prompt + texts[index] for index in window])
        by_length = sorted(range(len(window)), key=lambda place: -len(tokens[place]))
        for places in cut([len(tokens[place]) for place in by_length], max_rows, TOKENS_PER_REQUEST):
            chosen = [by_length[place] for place in places]
            rows = [tokens[place] for place in chosen]
            # The last row is the shortest.
            if not rows[-1]:
                index = window[chosen[-1]]
                raise no_token(index, texts[index])
            yield RequestRows([window[place] for place in chosen], pack_rows(rows, not_pooled=not_pooled))


def cut(lengths: Sequence[int], max_rows: int, max_tokens: int) -> Iterator[range]:
    """Cut `lengths` into runs of at most `max_rows` rows and `max_tokens` tokens, or one row."""
    start = tokens = 0
    for place, length in enumerate(lengths):
        if place > start and (place - start == max_rows or tokens + length > max_tokens):
            yield range(start, place)
            start, tokens = place, 0
        tokens += length
    if start < len(lengths):
        yield range(start, len(lengths))


def no_token(place: int, text: str) -> InvalidInput:
    """The error for a sentence without a token. `place` is its index in the call."""
    return InvalidInput(f"sentences[{place}] is {text[:200]!r}, which has no token for this model's tokenizer")
