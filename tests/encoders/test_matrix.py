"""Every supported kind of encoder, at every precision of a CPU, against sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.encoder import FAMILIES, precisions_of
from sentriton_server.export import export
from sentriton_server.parity import ExportedModel, compare
from sentriton_server.parity_texts import parity_sentences
from tests.encoders.shapes import LONGEST, make_checkpoint

LEAST_COSINE = {"fp32": 1 - 1e-6, "bf16": 0.9995, "int8": 0.99, "fp16": 0.9999}


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


def texts() -> list[str]:
    """Of one token up to the longest, some truncated."""
    sentences = parity_sentences()
    return [*sentences[:24], *(" ".join(sentences[:count]) for count in (2, 3, 5, 8, 40)), ""]


@pytest.mark.parametrize("precision", precisions_of("cpu"))
def test_an_encoder_equals_sentence_transformers_within_the_bound_of_its_precision(
    checkpoint: Path, precision: str, tmp_path: Path
) -> None:
    manifest = export(checkpoint, tmp_path / "repository", precision=precision, device="cpu")
    assert manifest.max_seq_length == LONGEST
    model, exported = SentenceTransformer(str(checkpoint), device="cpu"), ExportedModel(tmp_path / "repository", "cpu")
    together = exported.encode(texts(), batch_size=len(texts()))
    report = compare(together, model.encode(texts(), show_progress_bar=False))
    assert report.min_prefix_cosine >= LEAST_COSINE[precision]
    for text, embedding in zip(texts(), together, strict=True):
        assert np.array_equal(exported.encode([text])[0], embedding), "another vector in company"


@pytest.mark.parametrize("precision", precisions_of("gpu"))
def test_an_export_for_a_gpu_does_so_on_a_cpu(checkpoint: Path, precision: str, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "repository", precision=precision, device="gpu", check_on="cpu")
    model, exported = SentenceTransformer(str(checkpoint), device="cpu"), ExportedModel(tmp_path / "repository", "cpu")
    report = compare(exported.encode(texts()), model.encode(texts(), show_progress_bar=False))
    assert report.min_prefix_cosine >= LEAST_COSINE[precision]
    encoder = torch.jit.load(str(tmp_path / "repository/encoder/1/model.pt"))
    for name, value in read_checkpoint(checkpoint).encoder.rotary.state_dict().items():
        assert torch.equal(getattr(encoder.rotary, name), value), "errors would grow with the place"
