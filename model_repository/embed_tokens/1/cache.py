"""Caches the sentence embeddings of repeated rows. Plain code, free of Triton.

Triton's response cache looks up whole requests by their bytes. It ignores shapes and parameters, so its answers bypass
the check of the fingerprint. This cache looks up valid rows only. It has embeddings of one model, and ends with the
model's process.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

SIZE_VARIABLE = "SENTRITON_ROW_CACHE_MIB"
_MIB = 1 << 20
# Memory per entry in addition to tokens and embedding: two objects and the place in the dictionary.
_ENTRY_BYTES = 384


class RowCache:
    """Maps a row's tokens to its sentence embedding, and evicts the least recently used row. All methods are
    thread-safe.

    It has at most `most_bytes`, including Python's overhead per entry. `bytes` is its current size.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._embeddings: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def find(
        self, input_ids: NDArray[np.int32], pooled: NDArray[np.bool_], row: NDArray[np.int32]
    ) -> dict[int, NDArray[np.float32]]:
        """The cached embeddings, float32 [dimension], by the row's place. The arguments are packed rows, all [tokens].
        The embeddings are not copies, so do not change them.
        """
        keys = _keys(input_ids, pooled, row)
        with self._lock:
            found = {place: self._embeddings[key] for place, key in enumerate(keys) if key in self._embeddings}
            for place in found:
                self._embeddings.move_to_end(keys[place])
        return found

    def keep(
        self,
        input_ids: NDArray[np.int32],
        pooled: NDArray[np.bool_],
        row: NDArray[np.int32],
        embeddings: NDArray[np.float32],
    ) -> None:
        """Store copies of `embeddings`, float32 [rows, dimension], for these rows. Cached rows keep their embedding, so
        that answers stay identical to the last bit. Embeddings with NaN or infinity are not stored.
        """
        finite = np.isfinite(embeddings).all(axis=1)
        entries = [
            (key, embedding.copy())
            for key, embedding, good in zip(_keys(input_ids, pooled, row), embeddings, finite, strict=True)
            if good
        ]
        with self._lock:
            for key, embedding in entries:
                if key not in self._embeddings:
                    self._embeddings[key] = embedding
                    self.bytes += _size(key, embedding)
            while self.bytes > self.most_bytes:
                self.bytes -= _size(*self._embeddings.popitem(last=False))


def cache_of_environment(instances: int = 1) -> RowCache | None:
    """A cache with the share of one of `instances` of `$SENTRITON_ROW_CACHE_MIB`. None if that is 0 or unset. Raises
    `ValueError` for an invalid value.
    """
    text = os.environ.get(SIZE_VARIABLE) or "0"
    if not text.isdecimal():
        raise ValueError(f"${SIZE_VARIABLE} is {text!r}; it must be a whole number of MiB, 0 (off) or more")
    return RowCache(int(text) * _MIB // instances) if int(text) else None


def _keys(input_ids: NDArray[np.int32], pooled: NDArray[np.bool_], row: NDArray[np.int32]) -> list[bytes]:
    """The key of each row: its ids, and which of them are pooled."""
    ends = np.bincount(row).cumsum().tolist()
    ids, counted = input_ids.astype(np.int32, copy=False), pooled.astype(np.bool_, copy=False)
    return [
        counted[start:end].tobytes() + ids[start:end].tobytes() for start, end in zip([0, *ends], ends, strict=False)
    ]


def _size(key: bytes, embedding: NDArray[np.float32]) -> int:
    return len(key) + embedding.nbytes + _ENTRY_BYTES
