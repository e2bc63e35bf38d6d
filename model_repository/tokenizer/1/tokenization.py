"""Bytes of text to padded token ids: plain functions, free of Triton."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


class TextError(ValueError):
    """A row of the caller's text that cannot be read."""


def load_tokenizer(path: Path) -> Tokenizer:
    """The exported tokenizer.json carries special tokens, truncation to max_seq_length and padding to the longest."""
    return Tokenizer.from_file(str(path))


def decode_texts(text: NDArray[np.object_], most_bytes: int) -> list[str]:
    """Decode `text` [rows, 1] of bytes. Raises `TextError` where all rows together have more than `most_bytes`, and
    for one that is not UTF-8, with its row and byte.
    """
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


def tokenize(tokenizer: Tokenizer, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask`, both int64 [rows, longest of these rows]; mask 1 = token, 0 =
    padding.
    """
    encodings = tokenizer.encode_batch_fast(texts)
    input_ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
    attention_mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
    return input_ids, attention_mask
