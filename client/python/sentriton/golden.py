"""golden.json, which a server hands out: sentences, and the vectors that sentence-transformers makes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Golden:
    """The golden sentences and their vectors, float32 [sentences, dimension]."""

    sentences: list[str]
    embeddings: NDArray[np.float32]

    @classmethod
    def from_json(cls, text: str | bytes, dimension: int) -> Golden:
        """Raises ValueError when `text` is anything but sentences, at least one, with a vector of `dimension` finite
        numbers for each.
        """
        values = json.loads(text)
        sentences = values.get("sentences") if isinstance(values, dict) else None
        if not isinstance(sentences, list) or not sentences or not all(isinstance(each, str) for each in sentences):
            raise ValueError("it has no list of sentences")
        try:
            embeddings = np.array(values.get("sentence_embedding"), dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise ValueError(f"its sentence_embedding is no matrix of numbers: {error}") from error
        if embeddings.shape != (len(sentences), dimension) or not np.isfinite(embeddings).all():
            raise ValueError(
                f"its sentence_embedding has shape {list(embeddings.shape)}; expected finite numbers of shape "
                f"{[len(sentences), dimension]}"
            )
        return cls(sentences, embeddings)
