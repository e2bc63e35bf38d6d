"""Compares an exported model with sentence-transformers, sentence by sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sentriton_server.encoder.operators import load_library
from sentriton_server.repository import read_key
from sentriton_server.resources import load_model_code

# Callers may truncate vectors. From this dimension on, the precision's bound holds for truncated vectors as well. With
# fewer dimensions, the rounding of a few elements dominates the cosine.
SMALLEST_PREFIX = 32


@dataclass(frozen=True)
class ParityReport:
    """The deviation of the exported model from sentence-transformers in fp32, for the worst sentence and element.

    `min_prefix_cosine` is the smallest cosine of all vectors, truncated to every dimension from `SMALLEST_PREFIX` on.
    For shorter vectors it equals `min_cosine`.
    """

    sentences: int
    min_cosine: float
    max_difference: float
    min_prefix_cosine: float

    def as_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)


def compare(embeddings: NDArray[np.float32], reference: NDArray[np.float32]) -> ParityReport:
    """Compare float32 [sentences, dimension] row by row. Two rows of zeros count as equal."""
    ours, theirs = embeddings.astype(np.float64), reference.astype(np.float64)
    cosines = _prefix_cosines(ours, theirs)
    return ParityReport(
        sentences=len(ours),
        min_cosine=float(cosines[:, -1].min()),
        max_difference=float(np.abs(ours - theirs).max()),
        min_prefix_cosine=float(cosines[:, min(SMALLEST_PREFIX, cosines.shape[1]) - 1 :].min()),
    )


def _prefix_cosines(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosines [sentences, dimension] of each row's first element, first two elements and so on."""
    squares, their_squares = (ours**2).cumsum(axis=1), (theirs**2).cumsum(axis=1)
    lengths = np.sqrt(squares) * np.sqrt(their_squares)
    cosines = np.where(
        lengths > 0,
        (ours * theirs).cumsum(axis=1) / np.where(lengths > 0, lengths, 1),
        (squares > 0) == (their_squares > 0),
    )
    # A vector with NaN or infinity equals no vector.
    finite = np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1)
    return np.where(finite[:, None], cosines, -1.0)


class ExportedModel:
    """Runs an exported repository in this process, without Triton, with the same tokenizer, `model.pt` and head.

    `model` replaces the repository's `model.pt`.
    """

    def __init__(self, repository: Path, device: str, model: Path | None = None) -> None:
        self._tokenization = load_model_code("embed_text", "tokenization")
        self._tokenizer = self._tokenization.load_tokenizer(repository / "embed_text/1/tokenizer.json")
        self._device = torch.device("cuda" if device == "gpu" else "cpu")
        load_library(repository / "encoder/1")
        self._encoder = torch.jit.load(str(model or repository / "encoder/1/model.pt"), map_location=self._device)
        self._key = read_key(repository)
        self._head = load_model_code("pooling", "head").load_head(repository / "pooling/1")

    def encode(
        self, sentences: list[str], batch_size: int = 16, advance: Callable[[int], None] = lambda finished: None
    ) -> NDArray[np.float32]:
        """Embed like `embed_text`. Returns float32 [sentences, dimension]. `advance` gets the number of finished
        sentences.
        """
        embeddings = []
        for start in range(0, len(sentences), batch_size):
            embeddings.append(self._encode_batch(sentences[start : start + batch_size]))
            advance(min(start + batch_size, len(sentences)))
        return np.concatenate(embeddings)

    def _encode_batch(self, sentences: list[str]) -> NDArray[np.float32]:
        input_ids, row = self._tokenization.tokenize(self._tokenizer, sentences)
        key = np.full(len(row), self._key, np.int64)
        tensors = [torch.from_numpy(values[:, None]).to(self._device) for values in (input_ids, row, key)]
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            token_embeddings = self._encoder(*tensors)
        if not token_embeddings.is_cuda:  # on a GPU the head computes there as well, as in Triton
            token_embeddings = token_embeddings.numpy()
        sentence_embedding: NDArray[np.float32] = self._head.embed(token_embeddings, np.ones(len(row), np.bool_), row)
        return sentence_embedding
