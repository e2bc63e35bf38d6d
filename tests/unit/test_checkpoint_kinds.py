"""A checkpoint of another kind than an embedding model is rejected, and the error names its kind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sentriton_server.checkpoint import CheckpointError, read_checkpoint
from tests.checkpoint_changes import (
    Change,
    edit,
    edit_json,
    refused,
)
from tests.checkpoints import make_checkpoint
from tests.conftest import ROOT
from tests.snippets import blocks

TEXTS = ["a text", "another longer text"]
KINDS: dict[str, tuple[Change, str]] = {
    "a cross-encoder": (edit("config_sentence_transformers.json", model_type="CrossEncoder"), "is a cross-encoder"),
    "a sparse encoder": (edit("config_sentence_transformers.json", model_type="SparseEncoder"), "is a sparse encoder"),
    "a multi-vector encoder": (
        edit("config_sentence_transformers.json", model_type="MultiVectorEncoder"),
        "is a multi-vector encoder",
    ),
    "something new": (edit("config_sentence_transformers.json", model_type=["?"]), "model_type ['?']"),
    "a classifier": (
        edit("config.json", architectures=["RobertaForSequenceClassification"]),
        "architecture RobertaForSequenceClassification, so the checkpoint is a classifier",
    ),
    "a cross-encoder's task": (
        edit("sentence_bert_config.json", transformer_task="sequence-classification"),
        "transformer_task is 'sequence-classification', so the checkpoint is a cross-encoder",
    ),
    "a sparse encoder's task": (edit("sentence_bert_config.json", transformer_task="fill-mask"), "is a sparse encoder"),
    "another output": (
        edit(
            "sentence_bert_config.json",
            modality_config={"text": {"method": "forward", "method_output_name": "pooler_output"}},
        ),
        "supported is {'text': {'method': 'forward', 'method_output_name': 'last_hidden_state'}}",
    ),
    "chat messages": (
        edit(
            "sentence_bert_config.json",
            modality_config={"message": {"method": "forward", "method_output_name": "last_hidden_state"}},
        ),
        "modality_config {'message'",
    ),
    "an adapter": (
        edit("adapter_config.json", base_model_name_or_path="org/base", peft_type="LORA"),
        "is a PEFT adapter (adapter_config.json) of 'org/base' and not a whole model; merge it first, with peft's "
        "PeftModel.from_pretrained(base, adapter).merge_and_unload()",
    ),
    "an adapter without its configuration": (
        lambda folder: shutil.copy(folder / "model.safetensors", folder / "adapter_model.safetensors"),
        "it has the weights of a PEFT adapter (adapter_model.safetensors) without adapter_config.json; merge it first",
    ),
    "quantized weights": (edit("config.json", quantization_config={"quant_method": "x"}), "weights are quantized"),
    "a tokenizer elsewhere": (edit("sentence_bert_config.json", tokenizer_name_or_path="."), "tokenizer is elsewhere"),
    "code of its own": (
        edit("config.json", model_type="new", auto_map={"AutoModel": "modeling.NewModel"}),
        "the code that comes with it (auto_map in config.json) is never run",
    ),
    "code of its own, under the name of an encoder": (
        edit("config.json", num_hidden_layers=3, auto_map={"AutoModel": "modeling.NewModel"}),
        "never run: take the checkpoint in the native form of transformers",
    ),
    "a type that transformers does not know": (
        edit("config.json", model_type="bidirectional_x"),
        "encoder is of type 'bidirectional_x'; supported are bert, ",
    ),
    "a decoder": (edit("config.json", model_type="modernbert-decoder"), "'modernbert-decoder', a decoder: its layers"),
    "no type": (edit("config.json", model_type=None), "config.json has the model_type None; supported are bert, "),
    "a decoder's switch": (
        edit("config.json", is_decoder=True),
        "supported are encoders alone; use an embedding model",
    ),
    "no vocabulary": (
        lambda folder: [path.unlink() for path in folder.glob("token*.json")],
        "has no vocabulary of a tokenizer (tokenizer.json); save the checkpoint with its tokenizer",
    ),
    "weights for ONNX Runtime": (
        lambda folder: (folder / "model.safetensors").rename(folder / "model.onnx"),
        "but model.onnx, made from them for another program; take the checkpoint that they come from",
    ),
    "weights for llama.cpp": (
        lambda folder: (folder / "model.safetensors").rename(folder / "model-q8_0.gguf"),
        "but model-q8_0.gguf, made from them for another program",
    ),
    "model_args": (edit("sentence_bert_config.json", model_args={"variant": "x"}), "model_args have variant; allowed"),
}


@pytest.mark.parametrize(("change", "named"), KINDS.values(), ids=KINDS)
def test_what_is_not_an_embedding_model_is_refused_by_its_kind(change: Change, named: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    change(folder)
    assert named in refused(folder)


def test_the_page_of_encoders_shows_the_whole_message(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    edit("config.json", model_type="deberta-v2")(folder)
    (shown,) = (block.code for block in blocks(ROOT / "docs/encoders.md", "text") if "deberta-v2" in block.code)
    assert " ".join(shown.split()) == f"error: {refused(folder)}".replace(str(folder), "path/to/checkpoint")


def test_the_page_of_encoders_shows_how_to_merge_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a replacement for peft, which doubles the word embeddings of the base model."""

    def from_pretrained(base: Any, folder: str) -> Any:
        assert folder == "path/to/adapter"
        base.embeddings.word_embeddings.weight.data.mul_(2)
        return SimpleNamespace(merge_and_unload=lambda: base)

    monkeypatch.chdir(tmp_path)
    replacement = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setitem(sys.modules, "peft", SimpleNamespace(PeftModel=replacement))
    shutil.copytree(make_checkpoint(tmp_path / "made"), "path/to/base")
    (program,) = blocks(ROOT / "docs/encoders.md", "python")
    exec(program.code, {})
    base, merged = (
        read_checkpoint(Path("path/to") / name).model[0].auto_model.embeddings.word_embeddings.weight.data
        for name in ("base", "merged")
    )
    np.testing.assert_array_equal(merged, base * 2)


@pytest.mark.parametrize("attention", ["flash_attention_2", "kernels-community/flash-attn"])
@pytest.mark.parametrize("file", ["config.json", "sentence_bert_config.json"])
def test_the_attention_that_a_checkpoint_names_is_not_used(file: str, attention: str, tmp_path: Path) -> None:
    """It may need a GPU, or be the code of a hub repository."""
    folder = make_checkpoint(tmp_path)
    expected = read_checkpoint(folder).model.encode(TEXTS)
    named = {"attn_implementation": attention}
    edit(file, **(named if file == "config.json" else {"model_args": named}))(folder)
    np.testing.assert_array_equal(read_checkpoint(folder).model.encode(TEXTS), expected)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("sentence_transformers.sparse_encoder.models.SpladePooling", "SpladePooling makes the checkpoint a sparse"),
        ("sentence_transformers.sparse_encoder.models.MLMTransformer", "MLMTransformer makes the checkpoint a sparse"),
        ("sentence_transformers.sparse_encoder.modules.SparseAutoEncoder", "makes the checkpoint a sparse encoder"),
        ("sentence_transformers.multi_vector_encoder.modules.MultiVectorMask", "a multi-vector encoder"),
        ("sentence_transformers.models.Nonsense", "module Nonsense of the checkpoint is not supported"),
        ("sentence_transformers.models.StaticEmbedding", "need no server: use SentenceTransformer itself"),
        ("sentence_transformers.models.Router", "save the modules of one route as a checkpoint of its own"),
        ("sentence_transformers.models.LSTM", "take or train an embedding model without it"),
        ("sentence_transformers.nowhere.Transformer", "No module named"),
        ("mine.Transformer", "module mine.Transformer does not belong to sentence-transformers"),
        ("Transformer", "module Transformer does not belong to sentence-transformers"),
    ],
)
def test_a_module_of_another_kind_is_refused_by_its_kind(module: str, named: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = module
    (folder / "modules.json").write_text(json.dumps(modules))
    assert named in refused(folder)


def as_hub_model(folder: Path, cache: Path, hub_id: str) -> None:
    """Put a plain transformers model into a hub cache, as after a download."""
    at = cache / f"models--{hub_id.replace('/', '--')}"
    (at / "refs").mkdir(parents=True)
    (at / "refs/main").write_text("0" * 40)
    shutil.copytree(folder / "encoder", at / "snapshots" / ("0" * 40))


@pytest.mark.parametrize(
    ("architecture", "served"), [("RobertaModel", True), ("RobertaForSequenceClassification", False)]
)
def test_a_plain_model_of_the_hub_is_served_unless_it_is_a_classifier(
    architecture: str, served: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path)
    edit_json(tmp_path / "encoder/config.json", architectures=[architecture])
    as_hub_model(tmp_path, tmp_path / "hub", "someone/plain")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    if served:
        assert read_checkpoint("someone/plain").head_modules[0]["modes"] == ["mean"]
    else:
        with pytest.raises(CheckpointError, match=r"someone/plain: .*architecture RobertaForSequenceClassification"):
            read_checkpoint("someone/plain")
