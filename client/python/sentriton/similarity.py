"""Scores between embeddings, as sentence_transformers.util.similarity defines them: higher is more alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.floating[Any]]
Score = Callable[[Embeddings, Embeddings], Embeddings]


def normalize(embeddings: Embeddings) -> Embeddings:
    """Scale each row to length 1; a row of zeros stays zero."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)


def cosine(first: Embeddings, second: Embeddings) -> Embeddings:
    """Cosine of the angle: [n, d] and [m, d] to [n, m]."""
    return normalize(first) @ normalize(second).T


def dot(first: Embeddings, second: Embeddings) -> Embeddings:
    """Inner product: [n, d] and [m, d] to [n, m]."""
    return first @ second.T


def euclidean(first: Embeddings, second: Embeddings) -> Embeddings:
    """Negative straight distance: [n, d] and [m, d] to [n, m]."""
    scores = [-np.linalg.norm(row - second, axis=1) for row in first]
    return np.array(scores, dtype=first.dtype).reshape(len(first), len(second))


def manhattan(first: Embeddings, second: Embeddings) -> Embeddings:
    """Negative sum of absolute differences: [n, d] and [m, d] to [n, m]."""
    scores = [-np.abs(row - second).sum(axis=1) for row in first]
    return np.array(scores, dtype=first.dtype).reshape(len(first), len(second))


SIMILARITY: dict[str, Score] = {"cosine": cosine, "dot": dot, "euclidean": euclidean, "manhattan": manhattan}
PAIRWISE: dict[str, Score] = {
    "cosine": lambda first, second: (normalize(first) * normalize(second)).sum(axis=-1),
    "dot": lambda first, second: (first * second).sum(axis=-1),
    "euclidean": lambda first, second: -np.linalg.norm(first - second, axis=-1),
    "manhattan": lambda first, second: -np.abs(first - second).sum(axis=-1),
}
