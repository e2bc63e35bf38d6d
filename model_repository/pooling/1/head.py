"""What sentence-transformers puts behind the encoder (Pooling, Dense, Normalize), in numpy: plain functions, free of
Triton.

Semantics are those of sentence_transformers.sentence_transformer.modules.Pooling, .Dense and .Normalize, release 6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Step = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Head:
    """The modules behind the encoder."""

    pooling_modes: tuple[str, ...]
    steps: tuple[Step, ...]

    def embed(self, token_embeddings: NDArray[Any], attention_mask: NDArray[np.int64]) -> Floats:
        """`token_embeddings` [rows, length, hidden] float16 or float32, `attention_mask` int64 [rows, length] (0 =
        padding, 1 = token, 2 = attended and not pooled) to sentence embeddings, float32 [rows, dimension]."""
        embedding = pool(token_embeddings.astype(np.float32, copy=False), attention_mask, self.pooling_modes)
        for step in self.steps:
            embedding = step(embedding)
        return embedding


def load_head(folder: Path) -> Head:
    """Read head.json, and head.npz with the weights of its Dense modules."""
    description = json.loads((folder / "head.json").read_text())
    pooling, *rest = description["modules"]
    with np.load(folder / "head.npz", allow_pickle=False) as weights:
        steps = tuple(_step(module, weights) for module in rest)
    return Head(
        pooling_modes=tuple(pooling["modes"]),
        steps=steps,
    )


def pool(token_embeddings: Floats, attention_mask: NDArray[np.int64], modes: tuple[str, ...]) -> Floats:
    """Pool float32 [rows, length, hidden] to [rows, len(modes) * hidden], the modes' results side by side."""
    pooled = attention_mask == 1
    parts = [POOLING[mode](token_embeddings, pooled, attention_mask > 0) for mode in modes]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _weighted_sum(token_embeddings: Floats, weights: Floats) -> Floats:
    return (weights[:, None, :] @ token_embeddings)[:, 0]


def _mean(token_embeddings: Floats, pooled: NDArray[np.bool_], attended: NDArray[np.bool_]) -> Floats:
    weights = pooled.astype(np.float32)
    return _weighted_sum(token_embeddings, weights) / np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))


def _mean_sqrt_len(token_embeddings: Floats, pooled: NDArray[np.bool_], attended: NDArray[np.bool_]) -> Floats:
    weights = pooled.astype(np.float32)
    length = np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))
    return _weighted_sum(token_embeddings, weights) / np.sqrt(length)


def _weightedmean(token_embeddings: Floats, pooled: NDArray[np.bool_], attended: NDArray[np.bool_]) -> Floats:
    # Weights count 1, 2, 3 … from the first attended token; a prompt left out keeps its places.
    places = np.arange(1, pooled.shape[1] + 1) - attended.argmax(axis=1)[:, None]
    weights = (places * pooled).astype(np.float32)
    return _weighted_sum(token_embeddings, weights) / np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))


def _max(token_embeddings: Floats, pooled: NDArray[np.bool_], attended: NDArray[np.bool_]) -> Floats:
    return np.where(pooled[:, :, None], token_embeddings, np.float32(-np.inf)).max(axis=1)


def _cls(token_embeddings: Floats, pooled: NDArray[np.bool_], attended: NDArray[np.bool_]) -> Floats:
    return token_embeddings[np.arange(len(pooled)), pooled.argmax(axis=1)]


def _lasttoken(token_embeddings: Floats, pooled: NDArray[np.bool_], attended: NDArray[np.bool_]) -> Floats:
    last = pooled.shape[1] - 1 - pooled[:, ::-1].argmax(axis=1)
    return token_embeddings[np.arange(len(pooled)), last] * pooled.any(axis=1, keepdims=True)


POOLING: dict[str, Callable[[Floats, NDArray[np.bool_], NDArray[np.bool_]], Floats]] = {
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


ACTIVATIONS: dict[str, Step] = {
    "Identity": lambda values: values,
    "Tanh": np.tanh,
    "ReLU": lambda values: np.maximum(values, 0),
    "Sigmoid": _sigmoid,
    "GELU": _gelu,
    "SiLU": lambda values: values * _sigmoid(values),
}


def _step(module: dict[str, Any], weights: Any) -> Step:
    if module["type"] == "truncate":
        return lambda embedding: np.ascontiguousarray(embedding[:, : module["dimension"]])
    return normalize if module["type"] == "normalize" else _dense(module, weights)


def _dense(module: dict[str, Any], weights: Any) -> Step:
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
