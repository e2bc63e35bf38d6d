"""A checkpoint is exported with the vectors of sentence-transformers, or refused with one readable sentence."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from torch import Tensor

from sentriton_server.checkpoint import CheckpointError, content_key, locate_checkpoint, read_checkpoint
from sentriton_server.export import export
from sentriton_server.parity import ExportedModel
from tests.checkpoints import make_checkpoint

HIDDEN = 32
SENTENCES = ["한국어 문장을 바로 보내요", "the quick brown fox runs home", "", "the " * 50, "[CLS] the [SEP]"]
Change = Callable[[Path], Any]


def edit_json(path: Path, **changed: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**content, **changed}), encoding="utf-8")


def edit(file: str, **changed: Any) -> Change:
    return lambda folder: edit_json(folder / file, **changed)


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], file: str = "model.safetensors") -> Change:
    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / file)), folder / file, metadata={"format": "pt"})

    return apply


def without(*names: str) -> Change:
    return weights(lambda state: {name: tensor for name, tensor in state.items() if not name.endswith(names)})


def with_extra(**extra: Tensor) -> Change:
    return weights(lambda state: {**state, **{name.replace("__", "."): tensor for name, tensor in extra.items()}})


def text(file: str, content: str) -> Change:
    return lambda folder: (folder / file).write_text(content, encoding="utf-8")


def refused(folder: Path, *, allow_pickle: bool = False) -> str:
    """The sentence with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(folder, allow_pickle=allow_pickle)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 1000
    return message


def equals_sentence_transformers(folder: Path, target: Path, **options: Any) -> NDArray[np.float32]:
    """Export a checkpoint and compare with sentence-transformers on the tests' own sentences."""
    manifest = export(folder, target, device="cpu", **options)
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = manifest.max_seq_length
    expected = model.encode(SENTENCES, prompt="", show_progress_bar=False)
    found = ExportedModel(target, "cpu").encode(SENTENCES)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert manifest.dimension == expected.shape[1]
    return found


# Weights


LAYER = "encoder.layer.1.attention.output.LayerNorm.bias"
DENSE_FEATURES = {"in_features": HIDDEN, "out_features": 8}
MISFITS: dict[str, tuple[Change, str]] = {
    "all names prefixed": (
        weights(lambda state: {f"module.{name}": tensor for name, tensor in state.items()}),
        r"\d+ missing \(embeddings.LayerNorm.bias, .*\), \d+ unused \(module.embeddings.LayerNorm.bias",
    ),
    "one layer more in config.json": (
        edit("config.json", num_hidden_layers=3),
        r"16 missing \(encoder.layer.2.attention.output.LayerNorm.bias",
    ),
    "one layer more in the weights": (
        edit("config.json", num_hidden_layers=1),
        r"16 unused \(encoder.layer.1.attention.output.LayerNorm.bias",
    ),
    "one tensor missing": (
        without("layer.0.output.dense.weight"),
        r"1 missing \(encoder.layer.0.output.dense.weight\)",
    ),
    "LayerNorm biases missing": (without("LayerNorm.bias"), r"5 missing \(embeddings.LayerNorm.bias"),
    "no tensors": (weights(lambda state: {}), "which is too little"),
    "a wrong shape": (
        weights(lambda state: {**state, LAYER: torch.zeros(5)}),
        r"1 of another shape \(encoder.layer.1.attention.output.LayerNorm.bias is \[5\], not \[32\]\)",
    ),
    "vocab_size unlike the weights": (
        edit("config.json", vocab_size=90),
        r"1 of another shape \(embeddings.word_embeddings.weight is \[96, 32\], not \[90, 32\]\)",
    ),
    "a pooler of another shape": (
        with_extra(pooler__dense__weight=torch.ones(3, HIDDEN)),
        r"1 of another shape \(pooler.dense.weight is \[3, 32\], not \[32, 32\]\)",
    ),
    "an adapter's weights": (
        with_extra(encoder__layer__0__attention__self__query__lora_A__weight=torch.zeros(4, HIDDEN)),
        r"1 unused \(encoder.layer.0.attention.self.query.lora_A.weight\)",
    ),
    "weights of nothing known": (with_extra(extra__weight=torch.zeros(4)), r"1 unused \(extra.weight\)"),
    "not a number": (
        weights(lambda state: {**state, LAYER: torch.full([HIDDEN], torch.nan)}),
        f"not finite numbers: {LAYER}",
    ),
}


@pytest.mark.parametrize(("change", "named"), MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_are_named(change: Change, named: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    change(folder)
    assert re.search(named, refused(folder))


@pytest.mark.parametrize("layout", ["sharded", "pickled", "sharded and pickled"])
def test_weights_that_do_not_fit_are_named_in_every_layout(layout: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    relayout(folder, layout, missing="layer.0.output.dense.weight")
    assert "1 missing (encoder.layer.0.output.dense.weight)" in refused(folder, allow_pickle="pickled" in layout)


@pytest.mark.parametrize("layout", ["sharded", "pickled", "sharded and pickled"])
def test_every_layout_of_the_weights_gives_the_same_model(layout: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    before = read_checkpoint(folder).fingerprint
    relayout(folder, layout)
    assert read_checkpoint(folder, allow_pickle="pickled" in layout).fingerprint == before


def relayout(folder: Path, layout: str, missing: str = "no such weight") -> None:
    """Write the weights of a checkpoint in two files, or pickled, or both; without those whose name ends so."""
    state = load_file(folder / "model.safetensors")
    state = {name: tensor for name, tensor in state.items() if not name.endswith(missing)}
    (folder / "model.safetensors").unlink()
    stem, suffix = ("pytorch_model", "bin") if "pickled" in layout else ("model", "safetensors")
    names = sorted(state)
    shards = [names[::2], names[1::2]] if "sharded" in layout else [names]
    where = {}
    for number, shard in enumerate(shards, start=1):
        file = f"{stem}-{number:05}-of-{len(shards):05}.{suffix}" if "sharded" in layout else f"{stem}.{suffix}"
        part = {name: state[name] for name in shard}
        where |= dict.fromkeys(shard, file)
        if "pickled" in layout:
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, metadata={"format": "pt"})
    if "sharded" in layout:
        index = {"metadata": {"total_size": 1}, "weight_map": where}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


HARMLESS: dict[str, Change] = {
    "no pooler": without("pooler.dense.weight", "pooler.dense.bias"),
    "a pooler": with_extra(pooler__dense__weight=torch.ones(HIDDEN, HIDDEN), pooler__dense__bias=torch.ones(HIDDEN)),
    "a masked-LM checkpoint": weights(
        lambda state: {
            **{f"roberta.{name}": tensor for name, tensor in state.items() if "pooler" not in name},
            "roberta.embeddings.position_ids": torch.arange(34)[None],
            "lm_head.dense.weight": torch.ones(HIDDEN, HIDDEN),
            "lm_head.bias": torch.ones(96),
        }
    ),
    "names of BERT's first release": weights(
        lambda state: {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in state.items()
        }
    ),
    "half precision": weights(lambda state: {name: tensor.half() for name, tensor in state.items()}),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_poolers_heads_and_buffers_may_differ(change: Change, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made")
    change(folder)
    equals_sentence_transformers(folder, tmp_path / "exported")


@pytest.mark.parametrize("architectures", [["RobertaForMaskedLM"], ["BertModel"], None])
def test_the_architecture_of_a_pretrained_encoder_is_served(architectures: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made")
    edit_json(folder / "config.json", architectures=architectures)
    equals_sentence_transformers(folder, tmp_path / "exported")


DENSE_MISFITS: dict[str, tuple[Change, str]] = {
    "a weight missing": (
        weights(lambda state: {"linear.weight": state["linear.weight"]}, "2_Dense/model.safetensors"),
        "linear.bias",
    ),
    "a weight more": (weights(lambda state: {**state, "other": torch.zeros(2)}, "2_Dense/model.safetensors"), "other"),
    "not a number": (
        weights(lambda state: {**state, "linear.bias": torch.full([8], torch.nan)}, "2_Dense/model.safetensors"),
        "module Dense has weights that are not finite numbers",
    ),
    "sizes unlike the weights": (edit("2_Dense/config.json", out_features=7), "7"),
    "absurd sizes": (edit("2_Dense/config.json", in_features=10**9, out_features=10**9), "which is too little"),
    "negative sizes": (edit("2_Dense/config.json", in_features=-1), "in_features -1 and out_features 8"),
    "no sizes": (text("2_Dense/config.json", "{}"), "in_features None and out_features None"),
    "an unknown activation": (edit("2_Dense/config.json", activation_function="torch.nn.Nonsense"), "Nonsense"),
    "an activation of its own": (edit("2_Dense/config.json", activation_function="mine.Act"), "'mine.Act', which is"),
    "an activation that is no name": (edit("2_Dense/config.json", activation_function=None), "None, which is"),
    "no weights": (lambda folder: (folder / "2_Dense/model.safetensors").unlink(), "2_Dense has no weights in"),
    "no configuration": (lambda folder: (folder / "2_Dense/config.json").unlink(), "config.json is missing"),
}


@pytest.mark.parametrize(("change", "named"), DENSE_MISFITS.values(), ids=DENSE_MISFITS)
def test_a_dense_module_that_does_not_fit_is_named(change: Change, named: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, further_modules=[Dense(HIDDEN, 8)])
    change(folder)
    assert named in refused(folder)


def test_a_pickled_dense_needs_permission_as_pickled_encoders_do(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, further_modules=[Dense(HIDDEN, 8)])
    before = read_checkpoint(folder).fingerprint
    safe = folder / "2_Dense/model.safetensors"
    torch.save(load_file(safe), folder / "2_Dense/pytorch_model.bin")
    safe.unlink()
    assert "2_Dense has no weights in a .safetensors file; pickled weights are refused" in refused(folder)
    assert read_checkpoint(folder, allow_pickle=True).fingerprint == before


# Models of other kinds


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
    "quantized weights": (edit("config.json", quantization_config={"quant_method": "x"}), "weights are quantized"),
    "a tokenizer elsewhere": (edit("sentence_bert_config.json", tokenizer_name_or_path="."), "tokenizer is elsewhere"),
    "model_args": (edit("sentence_bert_config.json", model_args={"variant": "x"}), "model_args have variant; allowed"),
}


@pytest.mark.parametrize(("change", "named"), KINDS.values(), ids=KINDS)
def test_what_is_not_an_embedding_model_is_refused_by_its_kind(change: Change, named: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    change(folder)
    assert named in refused(folder)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("sentence_transformers.sparse_encoder.models.SpladePooling", "SpladePooling makes the checkpoint a sparse"),
        ("sentence_transformers.sparse_encoder.models.MLMTransformer", "MLMTransformer makes the checkpoint a sparse"),
        ("sentence_transformers.sparse_encoder.modules.SparseAutoEncoder", "makes the checkpoint a sparse encoder"),
        ("sentence_transformers.multi_vector_encoder.modules.MultiVectorMask", "a multi-vector encoder"),
        ("sentence_transformers.models.Nonsense", "module Nonsense of the checkpoint is not supported"),
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
    """Put a plain transformers model into a hub cache, as a download leaves it there."""
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


# Tokenization


TOKENIZERS: dict[str, tuple[Change, str]] = {
    "query_length": (edit("sentence_bert_config.json", query_length=8), "query_length 8, so that encode_query()"),
    "document_length": (edit("sentence_bert_config.json", document_length=8), "document_length 8, so that"),
    "query_expansion": (
        edit("sentence_bert_config.json", query_expansion={"strategy": "fixed", "length": 16}),
        "query_expansion {'strategy': 'fixed'",
    ),
    "split_special_tokens": (edit("tokenizer_config.json", split_special_tokens=True), "split_special_tokens: true"),
    "split_special_tokens, tokenizer_args": (
        edit("sentence_bert_config.json", tokenizer_args={"split_special_tokens": True}),
        "split_special_tokens: true",
    ),
    "split_special_tokens, processing_kwargs": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"split_special_tokens": True}}),
        'processing_kwargs {"text": {"split_special_tokens": true}} are not supported',
    ),
    "add_special_tokens": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"add_special_tokens": False}}),
        'processing_kwargs {"text": {"add_special_tokens": false}} are not supported',
    ),
    "max_length": (
        edit("sentence_bert_config.json", processing_kwargs={"common": {"max_length": 8}}),
        "processing_kwargs",
    ),
    "truncation": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"truncation": False}}),
        "processing_kwargs",
    ),
    "padding": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"padding": False}}),
        "cannot load checkpoint",
    ),
    "attention_mask": (edit("tokenizer_config.json", model_input_names=["input_ids"]), "makes no attention_mask"),
    "token types": (
        edit(
            "tokenizer.json",
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 1}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]}},
            },
        ),
        "types other than 0",
    ),
    "a panic of the tokenizers library": (
        edit(
            "tokenizer.json",
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {},
            },
        ),
        "PanicException",
    ),
    "no padding token": (edit("tokenizer_config.json", pad_token=None), "has no padding token"),
    "ids beyond the embeddings": (
        lambda folder: edit_json(
            folder / "tokenizer.json",
            added_tokens=[
                *json.loads((folder / "tokenizer.json").read_text())["added_tokens"],
                {
                    "id": 200,
                    "content": "<new>",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": False,
                },
            ],
        ),
        "has the token '<new>' with id",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "cannot load checkpoint"),
    "a tokenizer of no class": (
        edit("tokenizer.json", model={"type": "Nonsense"}),
        "tokenizer.json is not a tokenizer of the tokenizers library",
    ),
}


@pytest.mark.parametrize(("change", "named"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_setting_that_a_tokenizer_file_cannot_hold_is_named(change: Change, named: str, tmp_path: Path) -> None:
    # Two token types, so that the encoder itself takes either.
    folder = make_checkpoint(tmp_path, type_vocab_size=2)
    if "types other" in named:
        edit_json(folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    change(folder)
    assert named in refused(folder)


@pytest.mark.parametrize("place", ["tokenizer_config.json", "processing_kwargs"])
def test_padding_in_front_is_refused_where_it_moves_positions(place: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, architecture="bert")
    if place == "processing_kwargs":
        edit_json(folder / "sentence_bert_config.json", processing_kwargs={"text": {"padding_side": "left"}})
    else:
        edit_json(folder / place, padding_side="left")
    message = refused(folder)
    assert "padding_side 'left', so that sentence-transformers' vectors depend on the other texts" in message
    assert "allowed for bert with pad_token_id 1 is 'right'" in message


HONOURED: dict[str, Change] = {
    "padding in front where positions count": edit("tokenizer_config.json", padding_side="left"),
    "truncation in front": edit("tokenizer_config.json", truncation_side="left"),
    "do_lower_case": edit("sentence_bert_config.json", do_lower_case=True),
    "a lower limit": edit("tokenizer_config.json", model_max_length=9),
    "a prefix space": edit("tokenizer_config.json", add_prefix_space=True),
    "padding to the limit": edit("sentence_bert_config.json", processing_kwargs={"text": {"padding": "max_length"}}),
    "a chat template": edit("tokenizer_config.json", chat_template="{{ messages[0].content }}"),
}


@pytest.mark.parametrize("change", HONOURED.values(), ids=HONOURED)
def test_a_setting_that_a_tokenizer_file_can_hold_is_honoured(change: Change, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made")
    change(folder)
    equals_sentence_transformers(folder, tmp_path / "exported")


# Limits and sizes


@pytest.mark.parametrize("place", ["sentence_bert_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("limit", [-1, 0])
def test_a_max_seq_length_below_one_is_refused(limit: int, place: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    edit_json(folder / place, **{limit_name(place): limit})
    assert f"max_seq_length is {limit}; allowed are integers from 1 to 32, or null for the longest" in refused(folder)


def test_a_max_seq_length_without_room_for_text_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    edit_json(folder / "sentence_bert_config.json", max_seq_length=2)
    assert "max_seq_length is 2, and the tokenizer adds 2 special tokens" in refused(folder)


@pytest.mark.parametrize("place", ["sentence_bert_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("limit", [34, 1024, None])
def test_a_max_seq_length_beyond_the_position_table_is_capped_for_the_reference_too(
    limit: int | None, place: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "made", max_seq_length=32)
    edit_json(folder / "tokenizer_config.json", model_max_length=None)
    edit_json(folder / place, **{limit_name(place): limit})
    equals_sentence_transformers(folder, tmp_path / "exported")
    assert read_checkpoint(folder).model.max_seq_length == 32


def limit_name(place: str) -> str:
    return "model_max_length" if place == "tokenizer_config.json" else "max_seq_length"


@pytest.mark.parametrize("truncate_dim", [5, 12, 500])
@pytest.mark.parametrize("further", [(), (Normalize(),), (Dense(HIDDEN, 12), Normalize())], ids=len)
def test_truncate_dim_gives_the_first_numbers_of_each_vector(truncate_dim: int, further: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made", further_modules=further)
    before = read_checkpoint(folder).fingerprint
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=truncate_dim)
    found = equals_sentence_transformers(folder, tmp_path / "exported")
    assert found.shape == (len(SENTENCES), min(truncate_dim, 12 if len(further) == 2 else HIDDEN))
    golden = json.loads((tmp_path / "exported/assets/1/golden.json").read_text(encoding="utf-8"))
    assert np.shape(golden["sentence_embedding"]) == (8, found.shape[1])
    assert read_checkpoint(folder).fingerprint != before


@pytest.mark.parametrize("truncate_dim", [0, -3, 2.5, "8", True, [8]])
def test_a_truncate_dim_that_is_no_dimension_is_refused(truncate_dim: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=truncate_dim)
    assert f"truncate_dim {truncate_dim!r}; allowed are integers from 1, or null" in refused(folder)


SIZES: dict[str, tuple[dict[str, Any], str]] = {
    "hidden_size": ({"hidden_size": 10**9}, "its files hold"),
    "vocab_size": ({"vocab_size": 10**15}, "its files hold"),
    "layers": ({"num_hidden_layers": 10**9}, "its files hold"),
    "positions": ({"max_position_embeddings": 10**12}, "its files hold"),
    "intermediate_size": ({"intermediate_size": 10**12}, "its files hold"),
    "token types": ({"type_vocab_size": 10**12}, "its files hold"),
    "beyond any integer": ({"hidden_size": 10**60}, "its files hold"),
    "no heads": ({"num_attention_heads": 0}, "num_attention_heads is 0; allowed are positive integers"),
    "heads that do not divide": ({"num_attention_heads": 5}, "must be a multiple of num_attention_heads"),
    "negative layers": ({"num_hidden_layers": -1}, "num_hidden_layers is -1; allowed are positive integers"),
    "no layers": ({"num_hidden_layers": 0}, "num_hidden_layers is 0; allowed are positive integers"),
    "a text for a number": ({"hidden_size": "32"}, "'hidden_size' expected int, got str"),
    "null for a number": ({"hidden_size": None}, "hidden_size"),
    "true for a number": ({"num_hidden_layers": True}, "num_hidden_layers"),
    "no padding": ({"pad_token_id": None}, "pad_token_id is None; allowed are integers from 0 to 95"),
    "padding beyond the vocabulary": ({"pad_token_id": 96}, "pad_token_id is 96; allowed"),
    "negative padding": ({"pad_token_id": -1}, "pad_token_id is -1; allowed"),
    "positions of padding alone": ({"max_position_embeddings": 2}, "none is left for tokens"),
    "an unknown activation": ({"hidden_act": "nonsense"}, "hidden_act is 'nonsense'; supported are"),
    "an activation that is no name": ({"hidden_act": ["gelu"]}, "hidden_act"),
    "a negative epsilon": ({"layer_norm_eps": -1.0}, "layer_norm_eps is -1.0; allowed"),
    "no epsilon": ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan; allowed"),
    "an unknown type": ({"model_type": "nonsense"}, "nonsense"),
    "no type": ({"model_type": None}, "cannot"),
}


@pytest.mark.parametrize(("changed", "named"), SIZES.values(), ids=SIZES)
def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(
    changed: dict[str, Any], named: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path)
    edit_json(folder / "config.json", **changed)
    assert named in refused(folder)


def test_weights_too_large_for_their_products_are_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made")
    name = "encoder.layer.1.output.LayerNorm.weight"
    weights(lambda state: {**state, name: torch.full([HIDDEN], 3e38)})(folder)
    with pytest.raises(CheckpointError, match=f"{folder}: sentence-transformers' own vectors of it are not finite"):
        export(folder, tmp_path / "exported", precision="int8", device="cpu")
    assert not (tmp_path / "exported").exists()


# Files


JSON_FILES = [
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
]
BROKEN: dict[str, Callable[[Path], Any]] = {
    "cut off": lambda path: path.write_text('{"a": '),
    "empty": lambda path: path.write_text(""),
    "another type": lambda path: path.write_text("3"),
    "null": lambda path: path.write_text("null"),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "nested deeply": lambda path: path.write_text("[" * 100_000),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.fixture(scope="module")
def with_dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("dense"), further_modules=[Dense(HIDDEN, 8)])


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("file", JSON_FILES)
def test_a_broken_file_is_named(file: str, damage: Callable[[Path], Any], with_dense: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(with_dense, tmp_path / "checkpoint")
    damage(folder / file)
    assert file in refused(folder)


@pytest.mark.parametrize("content", ["{}", "[]", "[1]", '[{"type": 1}]', '[{"type": "a"}]'])
def test_a_list_of_modules_that_is_none_is_refused(content: str, with_dense: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(with_dense, tmp_path / "checkpoint")
    (folder / "modules.json").write_text(content)
    assert "modules" in refused(folder)


@pytest.mark.parametrize("path", ["../checkpoint", "/etc", "a/../../b"])
def test_a_module_outside_the_checkpoint_is_refused(path: str, with_dense: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(with_dense, tmp_path / "checkpoint")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    assert f"has the path '{path}'; allowed are paths inside the checkpoint" in refused(folder)


@pytest.mark.parametrize("prompts", [None, [1], {"query": 1}])
def test_prompts_that_are_none_are_refused(prompts: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    edit_json(folder / "config_sentence_transformers.json", prompts=prompts)
    assert f"prompts {prompts!r}; allowed is an object of strings" in refused(folder)


class Hostile:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "2_Dense/pytorch_model.bin"])
@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_a_hostile_pickle_is_refused_and_not_run(
    file: str, write: Callable[[Any, Path], Any], with_dense: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(with_dense, tmp_path / "checkpoint")
    (folder / file).with_name("model.safetensors").unlink()
    # Large enough for the encoder that config.json describes.
    write({"hostile": Hostile(tmp_path / "ran"), "filling": b"0" * 10**6}, folder / file)
    refused(folder, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_a_weight_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "has no weights in a .safetensors file" in refused(folder)


def test_a_pointer_in_the_place_of_the_weights_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 12345\n")
    assert "too little; correct the sizes, or download the weights again" in refused(folder)


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", "loop"])
def test_a_path_that_cannot_be_looked_at_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    Path("loop").symlink_to("loop")
    with pytest.raises(CheckpointError):
        locate_checkpoint(source)


def test_a_link_to_nothing_does_not_disturb_the_content_key(tmp_path: Path) -> None:
    before = content_key(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert content_key(tmp_path) == before


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_stays_one(
    interrupt: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(tmp_path)

    def stop(*_: Any, **__: Any) -> None:
        raise interrupt

    monkeypatch.setattr("sentence_transformers.SentenceTransformer.__init__", stop)
    with pytest.raises(interrupt):
        read_checkpoint(folder)


def test_memory_that_is_not_enough_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("sentence_transformers.SentenceTransformer.__init__", fail)
    assert "this machine has too little memory for it" in refused(folder)
