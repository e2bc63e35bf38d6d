"""Bytes of text to packed token ids: plain functions, free of Triton."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


class TextError(ValueError):
    """A row of the caller's text that cannot be read, or is no text to this tokenizer."""


def load_tokenizer(path: Path) -> Tokenizer:
    """The exported tokenizer.json carries special tokens and truncation to max_seq_length. Its padding is left out."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    return tokenizer


def decode_texts(text: NDArray[np.object_], most_bytes: int) -> list[str]:
    """Decode `text` [rows, 1] of bytes. Raises `TextError` where there is none, where all rows together have more than
    `most_bytes`, and for one that is not UTF-8, with its row and byte.
    """
    if text.size == 0:
        raise TextError("text has no rows; send at least one")
    size = sum(len(raw) for raw in text.flat)
    if size > most_bytes:
        raise TextError(
            f"text has {size:,} bytes in {text.size} rows; allowed are {most_bytes:,} a request: send fewer rows, or "
            "cut what is longer than the model reads"
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


def tokenize(tokenizer: Tokenizer, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The packed tokens of `texts`: `input_ids` and `row`, both int32 [tokens]. Raises `TextError` for a text that has
    no token.
    """
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    lengths = [len(each) for each in ids]
    if 0 in lengths:
        raise TextError(f"text in row {lengths.index(0)} has no token; send text that the model's tokenizer knows")
    input_ids = np.array(list(chain.from_iterable(ids)), dtype=np.int32)
    return input_ids, np.repeat(np.arange(len(ids), dtype=np.int32), lengths)
