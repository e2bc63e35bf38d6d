"""The array operations of pooling: numpy for token embeddings in host memory, torch for those on a GPU, which stay
there. Plain code, free of Triton.

The token embeddings of a batch are packed: the tokens of all rows are concatenated. A row's result must not depend on
the other rows. On a CPU this holds to the last bit, since sums are computed row by row.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# A numpy array or a torch tensor, like the token embeddings.
Array = Any


class Rows(NamedTuple):
    """The starts and ends of packed rows, [rows] int64, and the row number of each token, [tokens] int64."""

    starts: Array
    ends: Array
    of_tokens: Array


def _rows(row: NDArray[Any]) -> Rows:
    ends = np.bincount(row).cumsum()
    return Rows(np.concatenate([[0], ends[:-1]]), ends, row)


class NumpyArrays:
    """Operations on numpy arrays. `module` has the functions that numpy and torch share."""

    module: ModuleType = np
    device: Any = None

    def floats(self, values: Array) -> Array:
        return values.astype(np.float32, copy=False)

    def array(self, values: NDArray[Any]) -> Array:
        return values

    def host(self, values: Array) -> NDArray[np.float32]:
        return np.asarray(values)

    def rows(self, row: NDArray[Any]) -> Rows:
        return _rows(row)

    def places(self, rows: Rows) -> Array:
        return np.arange(1, len(rows.of_tokens) + 1) - np.repeat(rows.starts, rows.ends - rows.starts)

    def at_least(self, values: Array, least: float) -> Array:
        return np.maximum(values, np.float32(least))

    def weighted_sum(self, weights: Array, tokens: Array, rows: Rows) -> Array:
        sums = np.empty((len(rows.ends), tokens.shape[1]), np.float32)
        for place, (start, end) in enumerate(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)):
            np.dot(weights[start:end], tokens[start:end], out=sums[place])
        return sums

    def total(self, weights: Array, rows: Rows) -> Array:
        return np.add.reduceat(weights, rows.starts)

    def greatest(self, values: Array, rows: Rows) -> Array:
        return np.maximum.reduceat(values, rows.starts, axis=0)

    def least(self, values: Array, rows: Rows) -> Array:
        return np.minimum.reduceat(values, rows.starts, axis=0)

    def lengths(self, values: Array) -> Array:
        return np.linalg.norm(values, axis=1, keepdims=True)

    def first(self, values: Array, columns: int) -> Array:
        return np.ascontiguousarray(values[:, :columns])

    def erf(self, values: Array) -> Array:
        return np.vectorize(math.erf, otypes=[np.float32])(values)


class TorchArrays:
    """Operations on torch tensors, on the device of the token embeddings."""

    def __init__(self, device: Any) -> None:
        import torch

        self.module: ModuleType = torch
        self.device = device

    def floats(self, values: Array) -> Array:
        return values.to(self.module.float32)

    def array(self, values: NDArray[Any]) -> Array:
        # A copy, since Triton owns its array, which is read-only.
        return self.module.tensor(values, device=self.device)

    def host(self, values: Array) -> NDArray[np.float32]:
        embedding: NDArray[np.float32] = values.cpu().numpy()
        return embedding

    def rows(self, row: NDArray[Any]) -> Rows:
        # Counted on the host, because a GPU's `bincount` waits for its result. One copy for all three.
        parts = [part.astype(np.int64, copy=False) for part in _rows(row)]
        on_device = self.array(np.concatenate(parts))
        return Rows(*on_device.split([len(part) for part in parts]))

    def places(self, rows: Rows) -> Array:
        tokens = self.module.arange(1, len(rows.of_tokens) + 1, device=self.device)
        return tokens - rows.starts[rows.of_tokens]

    def at_least(self, values: Array, least: float) -> Array:
        return values.clamp(min=least)

    def weighted_sum(self, weights: Array, tokens: Array, rows: Rows) -> Array:
        return self._reduce("sum", weights[:, None] * tokens, rows)

    def total(self, weights: Array, rows: Rows) -> Array:
        return self._reduce("sum", weights, rows)

    def greatest(self, values: Array, rows: Rows) -> Array:
        return self._reduce("max", values, rows)

    def least(self, values: Array, rows: Rows) -> Array:
        return self._reduce("min", values, rows)

    def lengths(self, values: Array) -> Array:
        return values.norm(dim=1, keepdim=True)

    def first(self, values: Array, columns: int) -> Array:
        return values[:, :columns].contiguous()

    def erf(self, values: Array) -> Array:
        return self.module.erf(values)

    def _reduce(self, how: str, values: Array, rows: Rows) -> Array:
        # Its order of additions never changes, unlike that of `index_add_` on a GPU. It supports only floats, which
        # represent every place in a row exactly.
        reduced = self.module.segment_reduce(
            self.floats(values), how, lengths=rows.ends - rows.starts, axis=0, unsafe=True
        )
        return reduced.to(values.dtype)


def arrays_of(token_embeddings: Array) -> NumpyArrays | TorchArrays:
    """The operations for a numpy array or a torch tensor."""
    if isinstance(token_embeddings, np.ndarray):
        return NumpyArrays()
    return TorchArrays(token_embeddings.device)


class Weight:
    """A numpy array, copied to each device once."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self._on: dict[Any, Array] = {None: values}

    def on(self, arrays: NumpyArrays | TorchArrays) -> Array:
        if arrays.device not in self._on:
            self._on[arrays.device] = arrays.array(self._values)
        return self._on[arrays.device]
