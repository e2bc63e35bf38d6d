"""The types that `encode` returns without torch, and the numbers that `similarity` takes."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.util import cos_sim

from sentriton import InvalidInput
from sentriton.options import EncodeOptions
from sentriton.results import Results
from sentriton.similarity import score_matrix, score_pairs

OPTIONS = EncodeOptions(
    prompt="",
    max_rows=32,
    output_value="sentence_embedding",
    precision="float32",
    convert_to_numpy=False,
    convert_to_tensor=False,
    normalize_embeddings=False,
    dimension=4,
    model_dimension=4,
    show_progress_bar=False,
)
ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def test_lists_hold_arrays_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    results = Results(2, OPTIONS)
    results.embeddings[:] = 1
    assert [type(row) for row in results.finish()] == [np.ndarray, np.ndarray]


def test_tensors_need_torch_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InvalidInput, match="convert_to_tensor is True and torch is not installed"):
        Results(2, dataclasses.replace(OPTIONS, convert_to_tensor=True))


def test_similarity_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert score_matrix("cosine", ROWS, list(ROWS)).shape == (3, 3)


@pytest.mark.parametrize(
    "rows",
    [ROWS.astype(np.float16), torch.from_numpy(ROWS).bfloat16(), torch.from_numpy(ROWS).requires_grad_()],
    ids=["float16", "bfloat16", "with gradients"],
)
def test_similarity_is_computed_in_float32(rows: Any) -> None:
    scores = score_matrix("cosine", rows, rows)
    assert scores.dtype in (np.float32, torch.float32)
    np.testing.assert_allclose(scores, cos_sim(rows, rows).detach(), atol=1e-5)


def test_similarity_of_integers_does_not_wrap() -> None:
    rows = np.array([[-128, 127], [127, 127]], dtype=np.int8)
    np.testing.assert_allclose(score_matrix("euclidean", rows, rows)[0, 1], -255)
    np.testing.assert_allclose(score_pairs("manhattan", rows, rows[::-1]), [-255, -255])
