"""Linear layers that 8 bits change too much stay in bf16, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from sentriton_server import export as exporting
from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.export import ParityError, export
from sentriton_server.parity import ExportedModel
from sentriton_server.parity_texts import parity_sentences
from sentriton_server.repository import MANIFEST
from sentriton_server.sensitivity import sensitive_linears
from tests.encoders.shapes import make_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One number among the inputs of one linear layer is large, as in trained encoders: 8 bits leave the others little
    precision.
    """
    folder = make_checkpoint(tmp_path_factory.mktemp("outlier"), "bert")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.intermediate.dense.bias"][5] = 300
    weights["encoder.layer.1.output.dense.weight"][:, 5] *= 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_layer_with_the_outlier_is_the_most_sensitive(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    rows = [encoding.ids for encoding in read.tokenizer.encode_batch(parity_sentences()[:12])]
    before = {name: weight.clone() for name, weight in read.encoder.state_dict().items()}
    names = sensitive_linears(read.encoder, rows)
    assert names[0] == "layers.1.output"
    assert len(names) == len(set(names)) == 12
    assert all(weight.equal(before[name]) for name, weight in read.encoder.state_dict().items())


@pytest.mark.parametrize("operators", ["auto", "torch"])
def test_an_export_that_would_miss_the_bound_keeps_it_in_bf16(
    operators: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    repository = tmp_path / "repository"
    manifest = export(
        checkpoint, repository, precision="int8", device="cpu", operators=operators, say=said.append, overwrite=True
    )
    assert manifest.parity["min_prefix_cosine"] >= 0.99
    assert json.loads((repository / MANIFEST).read_text())["in_bf16"] == ["layers.1.output"]
    assert any(line.startswith("6% of the linear layers in bf16 (auto: the exported model differs") for line in said)
    exported, sentences = ExportedModel(repository, "cpu"), parity_sentences()[:20]
    for sentence, embedding in zip(sentences, exported.encode(sentences), strict=True):
        assert np.array_equal(exported.encode([sentence])[0], embedding), "another vector in company"
    monkeypatch.setattr(exporting, "BF16_SHARES", ())
    with pytest.raises(ParityError, match=r"int8 allows 0\.99; choose a higher precision"):
        export(checkpoint, tmp_path / "without", precision="int8", device="cpu", operators=operators)


def test_others_stay_as_they_are(tmp_path: Path) -> None:
    export(make_checkpoint(tmp_path, "bert"), tmp_path / "repository", precision="int8", device="cpu")
    assert "in_bf16" not in json.loads((tmp_path / "repository" / MANIFEST).read_text())
