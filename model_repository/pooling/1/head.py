"""What sentence-transformers puts behind the encoder (Pooling, Dense, LayerNorm, Normalize), in numpy: plain functions,
free of Triton.

Semantics are those of the modules of these names in sentence_transformers.sentence_transformer.modules, release 6.
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

Floats = NDArray[np.float32]
Layer = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Head:
    """The modules behind the encoder."""

    pooling_modes: tuple[str, ...]
    layers: tuple[Layer, ...]

    def embed(self, token_embeddings: NDArray[Any], pooled: NDArray[np.bool_], row: NDArray[Any]) -> Floats:
        """Sentence embeddings, float32 [rows, dimension], of packed rows. `token_embeddings` [tokens, hidden] float16
        or float32; `pooled` [tokens]: whether a token counts; `row` [tokens]: the number of its row, 0, 1, 2 and so on.
        """
        ends = np.bincount(row).cumsum()
        packed = PackedTokens(
            token_embeddings.astype(np.float32, copy=False), pooled, np.concatenate([[0], ends[:-1]]), ends
        )
        parts = [POOLING[mode](packed) for mode in self.pooling_modes]
        embedding = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        for layer in self.layers:
            embedding = layer(embedding)
        return embedding


def load_head(folder: Path) -> Head:
    """Read head.json, and head.npz with the weights of its modules."""
    description = json.loads((folder / "head.json").read_text())
    pooling, *rest = description["modules"]
    with np.load(folder / "head.npz", allow_pickle=False) as weights:
        layers = tuple(_layer(module, weights) for module in rest)
    return Head(pooling_modes=tuple(pooling["modes"]), layers=layers)


class PackedTokens(NamedTuple):
    """Packed rows: `tokens` float32 [tokens, hidden], `pooled` bool [tokens], and where each row begins and ends.

    What is pooled of a row must not depend on its neighbours, not by the last bit: so sums are taken row by row.
    """

    tokens: Floats
    pooled: NDArray[np.bool_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def places(self) -> NDArray[np.int64]:
        """1, 2, 3 … from each row's first token, [tokens]."""
        return np.arange(1, len(self.tokens) + 1) - np.repeat(self.starts, self.ends - self.starts)

    def weighted_sum(self, weights: Floats) -> Floats:
        """The tokens of each row by their `weights` [tokens]: [rows, hidden]."""
        sums = np.empty((len(self.ends), self.tokens.shape[1]), np.float32)
        for place, (start, end) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            np.dot(weights[start:end], self.tokens[start:end], out=sums[place])
        return sums

    def total(self, weights: Floats) -> Floats:
        """The sum of each row's `weights` [tokens], at least 1e-9: [rows, 1]."""
        return np.maximum(np.add.reduceat(weights, self.starts), np.float32(1e-9))[:, None]


def _mean(packed: PackedTokens) -> Floats:
    weights = packed.pooled.astype(np.float32)
    return packed.weighted_sum(weights) / packed.total(weights)


def _mean_sqrt_len(packed: PackedTokens) -> Floats:
    weights = packed.pooled.astype(np.float32)
    return packed.weighted_sum(weights) / np.sqrt(packed.total(weights))


def _weightedmean(packed: PackedTokens) -> Floats:
    # Weights count 1, 2, 3 … from the row's first token; a prompt left out keeps its places.
    weights = (packed.places() * packed.pooled).astype(np.float32)
    return packed.weighted_sum(weights) / packed.total(weights)


def _max(packed: PackedTokens) -> Floats:
    candidates = np.where(packed.pooled[:, None], packed.tokens, np.float32(-np.inf))
    return np.maximum.reduceat(candidates, packed.starts, axis=0)


def _cls(packed: PackedTokens) -> Floats:
    # The first that is pooled; where none is, the row's first token.
    first = np.minimum.reduceat(np.where(packed.pooled, packed.places(), len(packed.tokens)), packed.starts)
    return packed.tokens[packed.starts + np.where(first == len(packed.tokens), 1, first) - 1]


def _lasttoken(packed: PackedTokens) -> Floats:
    last = np.maximum.reduceat(packed.places() * packed.pooled, packed.starts)
    return packed.tokens[packed.starts + np.maximum(last, 1) - 1] * (last > 0)[:, None]


POOLING: dict[str, Callable[[PackedTokens], Floats]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weightedmean,
    "lasttoken": _lasttoken,
}


def normalize(embedding: Floats) -> Floats:
    """Scale each row to length 1, as torch.nn.functional.normalize: a row of zeros stays zero."""
    return embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), np.float32(1e-12))


def _sigmoid(values: Floats) -> Floats:
    # The same as 1 / (1 + exp(-values)), without its overflow.
    return 0.5 * (1 + np.tanh(0.5 * values))


def _gelu(values: Floats) -> Floats:
    return values * (0.5 * (1 + np.vectorize(math.erf, otypes=[np.float32])(values / math.sqrt(2))))


ACTIVATIONS: dict[str, Layer] = {
    "Identity": lambda values: values,
    "Tanh": np.tanh,
    "ReLU": lambda values: np.maximum(values, 0),
    "Sigmoid": _sigmoid,
    "GELU": _gelu,
    "SiLU": lambda values: values * _sigmoid(values),
}


def _layer(module: dict[str, Any], weights: Any) -> Layer:
    if module["type"] == "truncate":
        return lambda embedding: np.ascontiguousarray(embedding[:, : module["dimension"]])
    if module["type"] == "layer_norm":
        return _layer_norm(module, weights)
    return normalize if module["type"] == "normalize" else _dense(module, weights)


def _layer_norm(module: dict[str, Any], weights: Any) -> Layer:
    weight, bias = (weights[f"{module['weights']}.{kind}"] for kind in ("weight", "bias"))
    eps = np.float32(module["eps"])

    def layer_norm(embedding: Floats) -> Floats:
        centred = embedding - embedding.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        scaled: Floats = centred / np.sqrt(variance + eps) * weight + bias
        return scaled

    return layer_norm


def _dense(module: dict[str, Any], weights: Any) -> Layer:
    prefix, activate = module["weights"], ACTIVATIONS[module["activation"]]
    # [in, out], as the product wants it; a layer without bias or residual has no such entry.
    weight = np.ascontiguousarray(weights[f"{prefix}.weight"].T)
    bias = weights[f"{prefix}.bias"] if f"{prefix}.bias" in weights else np.float32(0)
    residual = np.ascontiguousarray(weights[f"{prefix}.residual"].T) if f"{prefix}.residual" in weights else None

    def dense(embedding: Floats) -> Floats:
        projected: Floats = activate(embedding @ weight + bias).astype(np.float32, copy=False)
        if not module["residual"]:
            return projected
        return projected + (embedding if residual is None else embedding @ residual)

    return dense
