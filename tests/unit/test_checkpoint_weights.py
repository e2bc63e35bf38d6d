"""Weights in every layout: they fit, or the error names those that do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Dense

from sentriton_server.checkpoint import read_checkpoint
from tests.checkpoint_changes import (
    HIDDEN,
    Change,
    edit,
    edit_json,
    equals_sentence_transformers,
    refused,
    text,
    weights,
    with_extra,
    without,
)
from tests.checkpoints import make_checkpoint

LAYER = "encoder.layer.1.attention.output.LayerNorm.bias"
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
    "no tensors": (weights(lambda state: {}), "its files have only"),
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
    "absurd sizes": (edit("2_Dense/config.json", in_features=10**9, out_features=10**9), "its files have only"),
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
