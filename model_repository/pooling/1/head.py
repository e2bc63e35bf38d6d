"""The layers of sentence-transformers after the encoder (Pooling, Dense, LayerNorm, Normalize), in numpy, or in torch
for token embeddings on a GPU. Plain functions, free of Triton.

They follow the modules of these names in sentence_transformers.sentence_transformer.modules, release 6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, NumpyArrays, Rows, TorchArrays, Weight, arrays_of

Arrays = NumpyArrays | TorchArrays
Layer = Callable[[Array, Arrays], Array]


@dataclass(frozen=True)
class Head:
    """The modules after the encoder."""

    pooling_modes: tuple[str, ...]
    layers: tuple[Layer, ...]

    def embed(self, token_embeddings: Array, pooled: NDArray[np.bool_], row: NDArray[Any]) -> NDArray[np.float32]:
        """Compute sentence embeddings, float32 [rows, dimension], of packed rows. `token_embeddings` [tokens, hidden]
        are float16, bfloat16 or float32, in numpy or in torch, whose device then computes. `pooled` [tokens] is whether
        a token counts. `row` [tokens] is the number of its row, 0, 1, 2 and so on.
        """
        arrays = arrays_of(token_embeddings)
        packed = PackedTokens(arrays.floats(token_embeddings), arrays.array(pooled), arrays.rows(row), arrays)
        parts = [POOLING[mode](packed) for mode in self.pooling_modes]
        embedding = parts[0] if len(parts) == 1 else arrays.module.concatenate(parts, axis=1)
        for layer in self.layers:
            embedding = layer(embedding, arrays)
        return arrays.host(embedding)


def load_head(folder: Path) -> Head:
    """Load head.json, and the weights of its modules from head.npz."""
    description = json.loads((folder / "head.json").read_text())
    pooling, *rest = description["modules"]
    with np.load(folder / "head.npz", allow_pickle=False) as weights:
        layers = tuple(_layer(module, weights) for module in rest)
    return Head(pooling_modes=tuple(pooling["modes"]), layers=layers)


class PackedTokens(NamedTuple):
    """Packed rows: `tokens` float32 [tokens, hidden], `pooled` bool [tokens], the rows and their array operations."""

    tokens: Array
    pooled: Array
    rows: Rows
    arrays: Arrays

    def places(self) -> Array:
        """The place of each token in its row, from 1, [tokens]."""
        return self.arrays.places(self.rows)

    def weighted_sum(self, weights: Array) -> Array:
        """The sum of each row's tokens, weighted by `weights` [tokens]: [rows, hidden]."""
        return self.arrays.weighted_sum(weights, self.tokens, self.rows)

    def total(self, weights: Array) -> Array:
        """The sum of each row's `weights` [tokens], at least 1e-9: [rows, 1]."""
        return self.arrays.at_least(self.arrays.total(weights, self.rows), 1e-9)[:, None]


def _mean(packed: PackedTokens) -> Array:
    weights = packed.arrays.floats(packed.pooled)
    return packed.weighted_sum(weights) / packed.total(weights)


def _mean_sqrt_len(packed: PackedTokens) -> Array:
    weights = packed.arrays.floats(packed.pooled)
    return packed.weighted_sum(weights) / packed.arrays.module.sqrt(packed.total(weights))


def _weightedmean(packed: PackedTokens) -> Array:
    # The weights are the places in the row. A prompt outside pooling counts for the places.
    weights = packed.arrays.floats(packed.places() * packed.pooled)
    return packed.weighted_sum(weights) / packed.total(weights)


def _max(packed: PackedTokens) -> Array:
    candidates = packed.arrays.module.where(packed.pooled[:, None], packed.tokens, -math.inf)
    return packed.arrays.greatest(candidates, packed.rows)


def _cls(packed: PackedTokens) -> Array:
    # The first pooled token, or the row's first token if none is pooled.
    where, none = packed.arrays.module.where, len(packed.tokens) + 1
    first = packed.arrays.least(where(packed.pooled, packed.places(), none), packed.rows)
    return packed.tokens[packed.rows.starts + where(first == none, 1, first) - 1]


def _lasttoken(packed: PackedTokens) -> Array:
    last = packed.arrays.greatest(packed.places() * packed.pooled, packed.rows)
    place = packed.arrays.module.where(last > 0, last, 1)
    return packed.tokens[packed.rows.starts + place - 1] * (last > 0)[:, None]


POOLING: dict[str, Callable[[PackedTokens], Array]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weightedmean,
    "lasttoken": _lasttoken,
}


def normalize(embedding: Array, arrays: Arrays) -> Array:
    """Scale each row to length 1 like torch.nn.functional.normalize. A row of zeros stays zero."""
    return embedding / arrays.at_least(arrays.lengths(embedding), 1e-12)


def _sigmoid(values: Array, arrays: Arrays) -> Array:
    # Equal to 1 / (1 + exp(-values)), without its overflow.
    return 0.5 * (1 + arrays.module.tanh(0.5 * values))


ACTIVATIONS: dict[str, Layer] = {
    "Identity": lambda values, arrays: values,
    "Tanh": lambda values, arrays: arrays.module.tanh(values),
    "ReLU": lambda values, arrays: arrays.at_least(values, 0),
    "Sigmoid": _sigmoid,
    "GELU": lambda values, arrays: values * (0.5 * (1 + arrays.erf(values / math.sqrt(2)))),
    "SiLU": lambda values, arrays: values * _sigmoid(values, arrays),
}


def _layer(module: dict[str, Any], weights: Any) -> Layer:
    if module["type"] == "truncate":
        return lambda embedding, arrays: arrays.first(embedding, module["dimension"])
    if module["type"] == "layer_norm":
        return _layer_norm(module, weights)
    return normalize if module["type"] == "normalize" else _dense(module, weights)


def _layer_norm(module: dict[str, Any], weights: Any) -> Layer:
    weight, bias = (Weight(weights[f"{module['weights']}.{kind}"]) for kind in ("weight", "bias"))
    eps = float(module["eps"])

    def layer_norm(embedding: Array, arrays: Arrays) -> Array:
        centred = embedding - embedding.mean(axis=1, keepdims=True)
        variance = (centred * centred).mean(axis=1, keepdims=True)
        return centred / arrays.module.sqrt(variance + eps) * weight.on(arrays) + bias.on(arrays)

    return layer_norm


def _dense(module: dict[str, Any], weights: Any) -> Layer:
    prefix, activate = module["weights"], ACTIVATIONS[module["activation"]]
    # Transposed to [in, out] for the product. Bias and residual are optional entries.
    weight = Weight(np.ascontiguousarray(weights[f"{prefix}.weight"].T))
    bias = Weight(weights[f"{prefix}.bias"] if f"{prefix}.bias" in weights else np.float32(0))
    residual = None
    if f"{prefix}.residual" in weights:
        residual = Weight(np.ascontiguousarray(weights[f"{prefix}.residual"].T))

    def dense(embedding: Array, arrays: Arrays) -> Array:
        projected = arrays.floats(activate(embedding @ weight.on(arrays) + bias.on(arrays), arrays))
        if not module["residual"]:
            return projected
        return projected + (embedding if residual is None else embedding @ residual.on(arrays))

    return dense
