"""conformance.json for Python: sentences, cases and expected vectors as the tests take them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFORMANCE = Path(__file__).with_name("conformance.json")


class Conformance:
    """The file, read. `vectors` is float32 [sentences, dimension]."""

    def __init__(self) -> None:
        content = json.loads(CONFORMANCE.read_text(encoding="ascii"))
        self.cases: list[dict[str, Any]] = content["cases"]
        self.statuses: list[list[str]] = content["statuses"]
        self.answers: list[dict[str, Any]] = content["answers"]
        self.wrong_fields: list[tuple[str, Any]] = [(name, value) for name, value in content["wrong_fields"]]
        self.min_cosine: float = content["min_cosine"]
        self.similarity: dict[str, Any] = content["similarity"]
        self.texts: list[str] = [sentence["text"] * sentence["times"] for sentence in content["sentences"]]
        self.vectors = decode_vectors([sentence["vector"] for sentence in content["sentences"]])

    def expected(self, case: dict[str, Any]) -> NDArray[np.float32]:
        """The vectors of a case, [n, dimension]."""
        full = decode_vectors(case["vectors"]) if "vectors" in case else self.vectors[case["sentences"]]
        vectors = full[:, : case.get("options", {}).get("truncate_dim")]
        if case.get("options", {}).get("normalize_embeddings"):
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def assert_equal(self, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
        """Same shape, same direction as far as float32 goes, same length."""
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        lengths = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
        cosines = (found * expected).sum(axis=1) / (lengths[0] * lengths[1])
        assert (cosines >= self.min_cosine).all(), f"smallest cosine {cosines.min()} in row {cosines.argmin()}"
        np.testing.assert_allclose(*lengths, atol=1e-4)


def decode_vectors(rows: list[str]) -> NDArray[np.float32]:
    """Base64 of little-endian float32, row by row."""
    return np.stack([np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows])
