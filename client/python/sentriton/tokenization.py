"""Tokenizes text with the server's tokenizer.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentriton.errors import ServerError


@contextmanager
def blaming(fault: str) -> Iterator[None]:
    """Convert any error or panic of the tokenizers library to a `ServerError` that begins with `fault`."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # an interrupt
        raise ServerError(f"{fault}: {error}") from error


class TextTokenizer:
    """Tokenizes like `SentenceTransformer.tokenize`, with special tokens, truncated to max_seq_length. Thread-safe."""

    def __init__(self, tokenizer_json: str) -> None:
        """Raises errors of the tokenizers library. Use `blaming`."""
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        # Rows are joined later, without padding.
        self._tokenizer.no_padding()
        self._special_ids = {
            token_id for token_id, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        }

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without padding. Raises `ServerError` if the server's tokenizer fails."""
        with blaming("the server's tokenizer.json does not tokenize these sentences"):
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    def prompt_length(self, prompt: str) -> int:
        """The number of a row's leading tokens for `prompt`. Raises `ServerError` like `tokenize`."""
        with blaming("the server's tokenizer.json does not tokenize the prompt"):
            ids = self._tokenizer.encode(prompt).ids
        return len(ids) - (1 if ids and ids[-1] in self._special_ids else 0)


@dataclass(frozen=True)
class PackedRows:
    """The concatenated tokens of rows, all [tokens]: `input_ids` int32, `row` int32 (from 0) and `pooled` bool. Tokens
    with `pooled` false are in attention but not in pooling.
    """

    input_ids: NDArray[np.int32]
    row: NDArray[np.int32]
    pooled: NDArray[np.bool_]


def pack_rows(rows: Sequence[Sequence[int]], *, not_pooled: int | Sequence[int] = 0) -> PackedRows:
    """Pack token ids. The first `not_pooled` tokens of all rows, or of each, are left out of pooling."""
    lengths = [len(row) for row in rows]
    input_ids = np.array(list(chain.from_iterable(rows)), dtype=np.int32)
    row = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    least = not_pooled if isinstance(not_pooled, int) else np.repeat(not_pooled, lengths)
    return PackedRows(input_ids, row, np.arange(len(row)) - starts >= least)
