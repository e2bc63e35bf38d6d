"""Converts bytes of text to packed token ids. Plain functions, free of Triton."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .long_text import beginning, beginning_decides

# Length of the prefix of a long text. Words take 2 to 6 characters per token, and only half of the prefix is certain.
_BEGINNING_CHARACTERS_PER_TOKEN = 16
_GROWTH = 4  # factor for a prefix that had too few tokens


class TextError(ValueError):
    """Text that is invalid, too large, or without tokens."""


class TextTokenizer:
    """The exported tokenizer, thread-safe. It adds special tokens, truncates to max_seq_length, and does not pad."""

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        description = json.loads(tokenizer_json)
        self._longest: int = self._tokenizer.truncation["max_length"]
        self._beginning: int | None = None
        if beginning_decides(description):
            self._beginning = _BEGINNING_CHARACTERS_PER_TOKEN * self._longest

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text."""
        if self._beginning is None or max(map(len, texts)) <= 2 * self._beginning:
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        return [self._ids_of_long(text) for text in texts]

    def _ids_of_long(self, text: str) -> list[int]:
        """The token ids of a text, from the shortest prefix that makes them certain."""
        characters = self._beginning or len(text)
        while 2 * characters < len(text):
            shorter, certain = beginning(text, characters)
            if certain:
                # `encode_batch`, since `encode_batch_fast` has no character offsets.
                encoding = self._tokenizer.encode_batch([shorter])[0]
                if len(encoding.ids) == self._longest and max(end for _, end in encoding.offsets) <= certain:
                    return list(encoding.ids)
            characters *= _GROWTH
        return list(self._tokenizer.encode_batch_fast([text])[0].ids)


def load_tokenizer(path: Path) -> TextTokenizer:
    """Load the tokenizer of an exported repository."""
    return TextTokenizer(path.read_text(encoding="utf-8"))


def decode_texts(text: NDArray[np.object_], most_bytes: int) -> list[str]:
    """Decode `text` [rows, 1] of bytes. Raises `TextError` without rows, for more than `most_bytes` in all, and for a
    row that is not UTF-8. The error names a row that is too long by itself, and the byte that is not UTF-8.
    """
    if text.size == 0:
        raise TextError("text has no rows; send at least one")
    sizes = [len(raw) for raw in text.flat]
    size, longest = sum(sizes), max(sizes)
    if longest > most_bytes:
        raise TextError(
            f"text in row {sizes.index(longest)} has {longest:,} bytes; allowed are {most_bytes:,} per request; "
            "truncate it beyond the model's limit"
        )
    if size > most_bytes:
        raise TextError(
            f"text has {size:,} bytes in {text.size} rows; allowed are {most_bytes:,} per request; send fewer rows, or "
            "truncate texts beyond the model's limit"
        )
    decoded = []
    for row, raw in enumerate(text.reshape(-1)):
        try:
            decoded.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise TextError(
                f"text in row {row} is not valid UTF-8: byte 0x{raw[error.start]:02x} at position {error.start} "
                f"({error.reason}); send UTF-8"
            ) from error
    return decoded


def tokenize(tokenizer: TextTokenizer, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The packed tokens of `texts`: `input_ids` and `row`, both int32 [tokens]. Raises `TextError` for a text without a
    token.
    """
    ids = tokenizer.ids(texts)
    lengths = [len(each) for each in ids]
    if 0 in lengths:
        raise TextError(f"text in row {lengths.index(0)} has no token; send text that the model's tokenizer knows")
    input_ids = np.fromiter(chain.from_iterable(ids), np.int32, count=sum(lengths))
    return input_ids, np.repeat(np.arange(len(ids), dtype=np.int32), lengths)
