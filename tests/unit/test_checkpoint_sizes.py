"""Limits and sizes of a checkpoint: capped like in sentence-transformers, or rejected before memory is allocated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.base.modules import Dense, Normalize

from sentriton_server.checkpoint import CheckpointError, read_checkpoint
from sentriton_server.export import export
from tests.checkpoint_changes import (
    HIDDEN,
    SENTENCES,
    edit_json,
    equals_sentence_transformers,
    refused,
    weights,
)
from tests.checkpoints import make_checkpoint


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
    folder = make_checkpoint(tmp_path / "made", num_hidden_layers=1, max_seq_length=32)
    edit_json(folder / "tokenizer_config.json", model_max_length=None)
    edit_json(folder / place, **{limit_name(place): limit})
    equals_sentence_transformers(folder, tmp_path / "exported")
    assert read_checkpoint(folder).model.max_seq_length == 32


@pytest.mark.parametrize("length", [100_001, 10**9, 1e300])
@pytest.mark.parametrize("name", ["num_labels", "num_hidden_layers"])
def test_a_list_that_would_fill_the_memory_is_refused(name: str, length: float, tmp_path: Path) -> None:
    """transformers makes lists of these lengths before it reads the weights."""
    folder = make_checkpoint(tmp_path)
    edit_json(folder / "config.json", **{name: length})
    assert f"config.json has {name} {length:,}; allowed are at most 100,000" in refused(folder)


def limit_name(place: str) -> str:
    return "model_max_length" if place == "tokenizer_config.json" else "max_seq_length"


@pytest.mark.parametrize("truncate_dim", [5, 12, 500])
@pytest.mark.parametrize("further", [(), (Normalize(),), (Dense(HIDDEN, 12), Normalize())], ids=len)
def test_truncate_dim_gives_the_first_numbers_of_each_vector(truncate_dim: int, further: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made", further_modules=further, num_hidden_layers=1)
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
    "hidden_size": ({"hidden_size": 10**9}, "its files have only"),
    "vocab_size": ({"vocab_size": 10**15}, "its files have only"),
    "layers": ({"num_hidden_layers": 10**5}, "its files have only"),
    "positions": ({"max_position_embeddings": 10**12}, "its files have only"),
    "intermediate_size": ({"intermediate_size": 10**12}, "its files have only"),
    "token types": ({"type_vocab_size": 10**12}, "its files have only"),
    "beyond any integer": ({"hidden_size": 10**60}, "its files have only"),
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
