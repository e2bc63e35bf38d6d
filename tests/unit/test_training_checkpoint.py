"""The base and the teacher of a training: read with the checks of an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from transformers import ModernBertConfig, ModernBertModel, Qwen3Config, Qwen3Model, T5Config, T5EncoderModel, T5Model

from sentriton_server.checkpoint import CheckpointError
from sentriton_server.training.checkpoint import load_base, load_teacher
from sentriton_server.training.stages import set_dropout
from tests.checkpoint_changes import Change, edit, weights, without
from tests.checkpoints import WORDS, make_checkpoint, make_tokenizer

Load = Callable[..., SentenceTransformer]
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS = {
    "a decoder": Qwen3Model(
        Qwen3Config(vocab_size=200, num_key_value_heads=2, head_dim=8, max_position_embeddings=64, **SIZES)
    ),
    "the encoder of a T5": T5EncoderModel(T5Config(vocab_size=200, d_model=32, d_kv=8, d_ff=64, num_layers=2)),
    "a whole T5": T5Model(T5Config(vocab_size=200, d_model=32, d_kv=8, d_ff=64, num_layers=2)),
}
ROLES = pytest.mark.parametrize("load", [load_base, load_teacher])
MISFITS: dict[str, tuple[Change, str]] = {
    "a tensor missing": (without("layer.0.output.dense.weight"), "1 missing (encoder.layer.0.output.dense.weight)"),
    "a tensor more": (weights(lambda state: {**state, "extra": torch.zeros(2)}), "1 unused (extra)"),
    "another shape": (edit("config.json", vocab_size=90), "1 of another shape (embeddings.word_embeddings.weight"),
    "quantized": (edit("config.json", quantization_config={"quant_method": "fp8"}), "its weights are quantized"),
    "a tokenizer elsewhere": (
        edit("sentence_bert_config.json", tokenizer_name_or_path="some/other"),
        "its tokenizer is elsewhere (tokenizer_name_or_path: 'some/other')",
    ),
}


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def other_teacher(kind: str, folder: Path) -> Path:
    """A teacher that Sentriton cannot serve."""
    encoder = folder / "encoder"
    OTHERS[kind].save_pretrained(encoder)
    make_tokenizer().save_pretrained(encoder)
    model = SentenceTransformer(modules=[Transformer(str(encoder)), Pooling(32)], device="cpu")
    model.save(str(folder / "teacher"), create_model_card=False)
    return folder / "teacher"


@ROLES
def test_pickled_weights_need_permission(load: Load, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    before = load(str(folder), allow_pickle=False).encode(WORDS)
    pickled(folder)
    with pytest.raises(CheckpointError, match=r"pickled weights are refused, .*; trust them with --allow-pickle"):
        load(str(folder), allow_pickle=False)
    np.testing.assert_array_equal(load(str(folder), allow_pickle=True).encode(WORDS), before)


@ROLES
@pytest.mark.parametrize(("change", "named"), MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_are_named(load: Load, change: Change, named: str, tmp_path: Path) -> None:
    """Otherwise random numbers would train, or teach."""
    folder = make_checkpoint(tmp_path)
    change(folder)
    with pytest.raises(CheckpointError) as raised:
        load(str(folder), allow_pickle=False)
    assert named in str(raised.value)


def test_a_base_may_be_an_encoder_alone_without_a_pooler_and_with_a_head(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path).with_name("encoder")
    without("pooler.dense.weight", "pooler.dense.bias")(folder)
    weights(lambda state: {**state, "lm_head.dense.weight": torch.ones(32, 32)})(folder)
    expected = SentenceTransformer(str(folder), device="cpu").encode(WORDS)
    np.testing.assert_array_equal(load_base(str(folder), allow_pickle=False).encode(WORDS), expected)


def test_a_base_in_half_precision_trains_in_float32(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    SentenceTransformer(str(folder), device="cpu").half().save(str(folder))
    base = load_base(str(folder), allow_pickle=False)
    assert {parameter.dtype for parameter in base.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_teacher_may_be_of_a_kind_that_cannot_be_served_and_a_base_may_not(kind: str, tmp_path: Path) -> None:
    folder = other_teacher(kind, tmp_path)
    expected = SentenceTransformer(str(folder), device="cpu").encode(WORDS)
    np.testing.assert_array_equal(load_teacher(str(folder), allow_pickle=False).encode(WORDS), expected)
    with pytest.raises(CheckpointError, match=r"cannot serve checkpoint .*: the checkpoint's encoder is of type"):
        load_base(str(folder), allow_pickle=False)


@pytest.mark.parametrize("kind", OTHERS)
def test_weights_of_a_teacher_that_cannot_be_served_are_checked(kind: str, tmp_path: Path) -> None:
    folder = other_teacher(kind, tmp_path)
    name = next(name for name in load_file(folder / "model.safetensors") if name.endswith("weight") and "0" in name)
    without(name)(folder)
    with pytest.raises(CheckpointError, match=r"cannot load checkpoint .* 1 missing"):
        load_teacher(str(folder), allow_pickle=False)


def test_a_teacher_of_static_embeddings_needs_permission_for_a_pickle(tmp_path: Path) -> None:
    module = StaticEmbedding(make_tokenizer(), embedding_dim=8)
    SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path))
    before = load_teacher(str(tmp_path), allow_pickle=False).encode(WORDS)
    where = next(tmp_path.rglob("model.safetensors")).parent
    pickled(where)
    with pytest.raises(CheckpointError, match="pickled weights are refused"):
        load_teacher(str(tmp_path), allow_pickle=False)
    np.testing.assert_array_equal(load_teacher(str(tmp_path), allow_pickle=True).encode(WORDS), before)


def test_a_teacher_with_routes_is_refused(tmp_path: Path) -> None:
    routes: Any = {name: [StaticEmbedding(make_tokenizer(), embedding_dim=8)] for name in ("query", "document")}
    SentenceTransformer(modules=[Router(routes)], device="cpu").save(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"module Router .*; save the modules of one route as a checkpoint"):
        load_teacher(str(tmp_path), allow_pickle=False)


def test_the_dropout_of_a_stage_is_that_of_rotary_attention_too() -> None:
    """It has no dropout layer."""
    encoder = ModernBertModel(ModernBertConfig(vocab_size=200, pad_token_id=1, **SIZES))
    set_dropout(encoder, 0.3)
    shares = {module.attention_dropout for module in encoder.modules() if hasattr(module, "attention_dropout")}
    assert shares == {0.3}


LIMITS: dict[str, tuple[Change, str]] = {
    **{
        f"length {value!r}": (edit("sentence_bert_config.json", max_seq_length=value), f"max_seq_length is {value!r}")
        for value in (0, 1, -1, "5", 7.5, True)
    },
    **{
        f"dimension {value!r}": (
            edit("config_sentence_transformers.json", truncate_dim=value),
            f"has truncate_dim {value!r}",
        )
        for value in (0, -1, "a")
    },
}


@pytest.mark.parametrize(("change", "named"), LIMITS.values(), ids=LIMITS)
def test_limits_of_a_teacher_are_checked(change: Change, named: str, tmp_path: Path) -> None:
    """Otherwise it would fail hours later, or teach vectors without a dimension."""
    folder = make_checkpoint(tmp_path)
    change(folder)
    with pytest.raises(CheckpointError) as raised:
        load_teacher(str(folder), allow_pickle=False)
    assert named in str(raised.value)


def test_a_teacher_takes_texts_beyond_its_table_of_positions(tmp_path: Path) -> None:
    folder, text = make_checkpoint(tmp_path), ["fox " * 100]
    expected = load_teacher(str(folder), allow_pickle=False).encode(text)
    edit("sentence_bert_config.json", max_seq_length=10**9)(folder)
    np.testing.assert_array_equal(load_teacher(str(folder), allow_pickle=False).encode(text), expected)
