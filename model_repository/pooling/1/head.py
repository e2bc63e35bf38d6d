"""What sentence-transformers puts behind the encoder (Pooling, Dense, Normalize), in numpy: plain functions, free of
Triton.

Semantics are those of sentence_transformers.sentence_transformer.modules.Pooling, .Dense and .Normalize, release 6.
"""

from __future__ import annotations

import itertools
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

    def embed(self, token_embeddings: NDArray[Any], pooled: NDArray[np.bool_], row: NDArray[Any]) -> Floats:
        """Sentence embeddings, float32 [rows, dimension], of packed rows. `token_embeddings` [tokens, hidden] float16
        or float32; `pooled` [tokens]: whether a token counts; `row` [tokens]: the number of its row, 0, 1, 2 and so on.
        """
        starts = np.searchsorted(row, np.arange(row[-1] + 2))
        rows = [slice(start, end) for start, end in itertools.pairwise(starts)]
        tokens = token_embeddings.astype(np.float32, copy=False)
        # Row by row: a row's embedding is then the same whatever its neighbours are.
        embedding = np.stack([pool(tokens[each], pooled[each], self.pooling_modes) for each in rows])
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


def pool(tokens: Floats, pooled: NDArray[np.bool_], modes: tuple[str, ...]) -> Floats:
    """Pool one row, float32 [length, hidden], to [len(modes) * hidden], the modes' results side by side. `pooled`
    [length]: which tokens count."""
    parts = [POOLING[mode](tokens, pooled) for mode in modes]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _mean(tokens: Floats, pooled: NDArray[np.bool_]) -> Floats:
    weights = pooled.astype(np.float32)
    return (weights @ tokens) / np.maximum(weights.sum(), np.float32(1e-9))


def _mean_sqrt_len(tokens: Floats, pooled: NDArray[np.bool_]) -> Floats:
    weights = pooled.astype(np.float32)
    return (weights @ tokens) / np.sqrt(np.maximum(weights.sum(), np.float32(1e-9)))


def _weightedmean(tokens: Floats, pooled: NDArray[np.bool_]) -> Floats:
    # Weights count 1, 2, 3 … from the row's first token; a prompt left out keeps its places.
    weights = (np.arange(1, len(pooled) + 1) * pooled).astype(np.float32)
    return (weights @ tokens) / np.maximum(weights.sum(), np.float32(1e-9))


def _max(tokens: Floats, pooled: NDArray[np.bool_]) -> Floats:
    return np.where(pooled[:, None], tokens, np.float32(-np.inf)).max(axis=0)


def _cls(tokens: Floats, pooled: NDArray[np.bool_]) -> Floats:
    return tokens[pooled.argmax()]


def _lasttoken(tokens: Floats, pooled: NDArray[np.bool_]) -> Floats:
    last = len(pooled) - 1 - pooled[::-1].argmax()
    return tokens[last] * pooled.any()


POOLING: dict[str, Callable[[Floats, NDArray[np.bool_]], Floats]] = {
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
