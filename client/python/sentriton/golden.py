"""golden.json: sentences with sentence-transformers' vectors, and the comparison with the server's."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentriton.errors import ServerError
from sentriton.manifest import Manifest

HEALTH_TIMEOUT_S = 10.0  # of a caller's canary


@dataclass(frozen=True)
class Golden:
    """The golden sentences and their vectors, float32 [sentences, dimension]."""

    sentences: list[str]
    embeddings: NDArray[np.float32]

    @classmethod
    def from_json(cls, text: str | bytes, dimension: int) -> Golden:
        """Raises ValueError unless each sentence has a vector of `dimension` finite numbers."""
        values = json.loads(text)
        sentences = values.get("sentences") if isinstance(values, dict) else None
        if not isinstance(sentences, list) or not sentences or not all(isinstance(each, str) for each in sentences):
            raise ValueError("it has no list of sentences")
        try:
            embeddings = np.array(values.get("sentence_embedding"), dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise ValueError(f"its sentence_embedding is no matrix of numbers: {error}") from error
        shape, expected = list(embeddings.shape), [len(sentences), dimension]
        if shape != expected or not np.isfinite(embeddings).all():
            raise ValueError(f"its sentence_embedding has shape {shape}; expected finite numbers of shape {expected}")
        return cls(sentences, embeddings)


@dataclass(frozen=True)
class HealthReport:
    """A passed health check: the served model and its smallest cosine to the golden vectors."""

    manifest: Manifest
    min_cosine: float


def smallest_cosine(
    address: str, manifest: Manifest, embeddings: NDArray[np.float32], golden: NDArray[np.float32]
) -> float:
    """The smallest cosine between rows of both [sentences, dimension]. Raises `ServerError` below `min_cosine`."""
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(golden, axis=1)
    min_cosine = float(((embeddings * golden).sum(axis=1) / lengths).min())
    # 1e-6 is the noise of float32.
    if not min_cosine >= manifest.min_cosine - 1e-6:
        raise ServerError(
            f"the canary failed at {address}: the smallest cosine to the golden vectors is {min_cosine:.6f}, "
            f"{manifest.precision} must reach {manifest.min_cosine}"
        )
    return min_cosine
