"""The modules around the encoder, and an encoder without any, against sentence-transformers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import (
    Dropout,
    LayerNorm,
    Pooling,
    Transformer,
    WeightedLayerPooling,
)
from torch import nn

from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.export import export
from sentriton_server.parity import ExportedModel, compare
from tests.checkpoint_changes import edit_json, refused
from tests.encoders.shapes import HIDDEN, LAYERS, make_checkpoint
from tests.encoders.test_matrix import texts


def equals_sentence_transformers(folder: Path, repository: Path, **options: Any) -> None:
    export(folder, repository, precision="fp32", device="cpu", **options)
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts(), show_progress_bar=False)
    assert compare(ExportedModel(repository, "cpu").encode(texts()), expected).min_prefix_cosine >= 1 - 1e-6


def with_modules(folder: Path, *modules: Any, model_type: str = "bert", **config: Any) -> Path:
    """A checkpoint of an encoder and these modules."""
    make_checkpoint(folder / "made", model_type, **config)
    transformer = Transformer(str(folder / "made/encoder"), max_seq_length=100)
    model = SentenceTransformer(modules=[transformer, *modules], device="cpu")
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.add_(torch.rand_like(parameter))
    model.save(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


def test_norms_and_dropout_behind_pooling(tmp_path: Path) -> None:
    modules = [Dropout(0.5), LayerNorm(HIDDEN), Dense(HIDDEN, 24, activation_function=nn.Tanh()), LayerNorm(24)]
    equals_sentence_transformers(with_modules(tmp_path, Pooling(HIDDEN), *modules), tmp_path / "exported")


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "mpnet"])
@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("operators", ["auto", "torch"])
def test_a_mean_of_the_layers_outputs(model_type: str, start: int, operators: str, tmp_path: Path) -> None:
    mean = WeightedLayerPooling(HIDDEN, num_hidden_layers=LAYERS, layer_start=start)
    folder = with_modules(tmp_path, mean, Pooling(HIDDEN), model_type=model_type)
    last_layer = read_checkpoint(folder).fingerprint
    edit_json(folder / "config.json", output_hidden_states=True)
    assert read_checkpoint(folder).fingerprint != last_layer
    equals_sentence_transformers(folder, tmp_path / "exported", operators=operators)


def test_a_mean_of_layers_that_the_encoder_does_not_have_is_refused(tmp_path: Path) -> None:
    mean = WeightedLayerPooling(HIDDEN, num_hidden_layers=LAYERS + 3, layer_start=0)
    folder = with_modules(tmp_path, mean, Pooling(HIDDEN))
    edit_json(folder / "config.json", output_hidden_states=True)
    assert f"has {LAYERS + 4} weights from layer_start 0 on; it must have one for each" in refused(folder)


def test_a_pickled_norm_is_refused(tmp_path: Path) -> None:
    folder = with_modules(tmp_path, Pooling(HIDDEN), LayerNorm(HIDDEN))
    torch.save({}, folder / "2_LayerNorm/pytorch_model.bin")
    (folder / "2_LayerNorm/model.safetensors").unlink()
    assert "pickled weights are refused" in refused(folder)


def test_an_encoder_without_modules_gets_mean_pooling_and_says_so(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "distilbert").parent / "encoder"
    said: list[str] = []
    equals_sentence_transformers(folder, tmp_path / "exported", say=said.append)
    assert "pooling mean (the default of sentence-transformers for an encoder without modules.json)" in said


def test_the_dimension_that_a_checkpoint_truncates_to(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "mpnet")
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=24)
    equals_sentence_transformers(folder, tmp_path / "exported")


def test_weights_of_other_heads_are_no_part_of_the_encoder(tmp_path: Path) -> None:
    """As a masked language model is saved."""
    from transformers import AutoModelForMaskedLM

    for model_type in ("modernbert", "distilbert", "mpnet", "camembert", "electra", "nomic_bert", "gte"):
        folder = make_checkpoint(tmp_path / model_type, model_type)
        plain = read_checkpoint(folder).fingerprint
        model = AutoModelForMaskedLM.from_pretrained(str(folder))
        shutil.copy(folder / "config.json", tmp_path / "config.json")
        model.save_pretrained(folder)
        shutil.copy(tmp_path / "config.json", folder / "config.json")
        assert read_checkpoint(folder).fingerprint == plain


def test_a_rotary_encoder_has_the_length_and_ignores_the_position_type_of_its_checkpoint(tmp_path: Path) -> None:
    """Neither do transformers and sentence-transformers end its positions, or read the type that other code wrote."""
    folder = make_checkpoint(tmp_path, "gte")
    edit_json(folder / "config.json", position_embedding_type="rope")
    edit_json(folder / "sentence_bert_config.json", max_seq_length=300)
    longest = " ".join(texts()[-2:] * 3)
    model = SentenceTransformer(str(folder), device="cpu")
    manifest = export(folder, tmp_path / "exported", precision="fp32", device="cpu")
    assert manifest.max_seq_length == 300
    assert len(model.tokenizer(longest)["input_ids"]) > 300
    expected = model.encode([longest], show_progress_bar=False)
    assert compare(ExportedModel(tmp_path / "exported", "cpu").encode([longest]), expected).min_cosine >= 1 - 1e-6


def test_adapters_beside_the_weights_are_said_not_to_be_applied(tmp_path: Path) -> None:
    folder, said = make_checkpoint(tmp_path, "bert"), list[str]()
    (folder / "for_queries").mkdir()
    (folder / "for_queries/adapter_config.json").write_text("{}")
    export(folder, tmp_path / "exported", precision="fp32", device="cpu", say=said.append)
    assert any(message.startswith("adapters for_queries are not applied") for message in said)
