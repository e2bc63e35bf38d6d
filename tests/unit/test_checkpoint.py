"""Reading a sentence-transformers checkpoint: supported settings, and settings that are rejected by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import LSTM, WordWeights
from torch import nn
from transformers import MegatronBertConfig, MegatronBertModel
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from sentriton_server.checkpoint import CheckpointError, content_key, locate_checkpoint, read_checkpoint, read_tokenizer
from tests.checkpoints import ARCHITECTURES, SPECIAL, WORDS, make_checkpoint, make_tokenizer

HIDDEN = 32


def edit_json(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_is_taken_apart(architecture: str, tmp_path: Path) -> None:
    folder = make_checkpoint(
        tmp_path,
        architecture=architecture,
        pooling=("cls", "mean"),
        further_modules=[Normalize()],
        include_prompt=False,
    )
    checkpoint = read_checkpoint(folder)
    assert checkpoint.name == "checkpoint"
    assert checkpoint.encoder_spec.model_type == architecture
    assert checkpoint.head_modules == [
        {"type": "pooling", "modes": ["cls", "mean"], "include_prompt": False},
        {"type": "normalize"},
    ]
    assert checkpoint.head_weights == {}


def test_dense_modules_are_described_with_their_weights(tmp_path: Path) -> None:
    modules = [Dense(HIDDEN, 8, activation_function=nn.GELU()), Dense(8, 5, bias=False, use_residual=True)]
    checkpoint = read_checkpoint(make_checkpoint(tmp_path, further_modules=modules))
    assert checkpoint.head_modules[1:] == [
        {"type": "dense", "activation": "GELU", "weights": "dense_1", "residual": False},
        {"type": "dense", "activation": "Tanh", "weights": "dense_2", "residual": True},
    ]
    shapes = {name: values.shape for name, values in checkpoint.head_weights.items()}
    assert shapes == {
        "dense_1.weight": (8, HIDDEN),
        "dense_1.bias": (8,),
        "dense_2.weight": (5, 8),
        "dense_2.residual": (5, 8),
    }


# Checkpoints that cannot be served


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (WordWeights(["a"], {"a": 1.0}), "module WordWeights of the checkpoint is not supported; supported are"),
        (LSTM(HIDDEN, 8), "module LSTM of the checkpoint is not supported; supported are Transformer, .* Pooling"),
        (Dense(HIDDEN, 8, activation_function=nn.Softplus()), "activation_function Softplus; supported are Identity"),
        (Normalize("token_embeddings"), "Normalize has module_input_name 'token_embeddings'"),
        (Dense(HIDDEN, 8, module_output_name="other"), "Dense has module_output_name 'other'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module_that_cannot_be_served_is_named(module: Any, named: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, further_modules=[module])
    with pytest.raises(CheckpointError, match=named):
        read_checkpoint(folder)


def test_a_second_pooling_is_refused_with_the_modules_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {**modules[1], "idx": 2, "name": "2"}]))
    with pytest.raises(CheckpointError, match="modules are Transformer, Pooling, Pooling; supported are"):
        read_checkpoint(folder)


def test_an_encoder_of_another_type_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "megatron-bert", (MegatronBertConfig, MegatronBertModel))
    folder = make_checkpoint(tmp_path, architecture="megatron-bert")
    with pytest.raises(CheckpointError, match=f"{folder}: .*'megatron-bert'; supported are bert, camembert"):
        read_checkpoint(folder)


def test_an_encoder_activation_that_is_not_supported_is_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, hidden_act="tanh")
    with pytest.raises(CheckpointError, match="hidden_act is 'tanh'; supported are gelu"):
        read_checkpoint(folder)


@pytest.mark.parametrize(("architecture", "places"), [("bert", 20), ("roberta", 18), ("xlm-roberta", 18)])
def test_max_seq_length_is_capped_at_the_position_table(architecture: str, places: int, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, architecture=architecture, max_position_embeddings=20)
    edit_json(folder / "sentence_bert_config.json", max_seq_length=32)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.encoder_spec.max_seq_length == places
    assert len(checkpoint.tokenizer.encode("the " * 40).ids) == places


def test_a_folder_with_neither_modules_nor_a_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it has neither modules\.json"):
        locate_checkpoint(tmp_path)


@pytest.mark.parametrize("source", ["/no/such/folder", "./missing", "a/b/c", ""])
def test_a_path_that_does_not_exist_is_named(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=source or "."):
        locate_checkpoint(source)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my-encoder", "my-encoder"),
        ("my-encoder/model", "my-encoder"),
        ("my-encoder/checkpoint-300", "my-encoder-300"),
        ("runs/checkpoint", "checkpoint"),
        (f"hub/models--klue--roberta-base/snapshots/{'0a' * 20}", "klue/roberta-base"),
    ],
)
def test_a_checkpoint_is_named_by_the_folder_that_says_most(folder: str, name: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "modules.json").write_text("[]", encoding="utf-8")
    assert locate_checkpoint(tmp_path / folder)[0] == name


def test_a_hub_id_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match="no folder 'nobody/no-such-model' exists, and the hub did not deliver it"
    ):
        locate_checkpoint("nobody/no-such-model")


def pickle_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "pickled weights alone": pickle_weights,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "truncated weights": lambda folder: (folder / "model.safetensors").write_bytes(b"\x08\x00"),
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "no JSON in modules.json": lambda folder: (folder / "modules.json").write_text("{"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "a folder missing": lambda folder: (folder / "1_Pooling/config.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_nothing_else_escapes(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    damage(folder)
    with pytest.raises(CheckpointError, match=str(folder)):
        read_checkpoint(folder)


def test_pickled_weights_are_refused_in_words_that_help(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    pickle_weights(folder)
    with pytest.raises(CheckpointError, match=r"safetensors file; pickled weights are refused.*--allow-pickle"):
        read_checkpoint(folder)


def test_pickled_weights_are_read_where_that_is_allowed(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    fingerprint = read_checkpoint(folder).fingerprint
    pickle_weights(folder)
    assert read_checkpoint(folder, allow_pickle=True).fingerprint == fingerprint


@pytest.mark.parametrize("file", ["config.json", "modules.json"])
def test_code_that_comes_with_a_checkpoint_is_never_run(file: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    (folder / "custom.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    content = json.loads((folder / file).read_text())
    if file == "config.json":
        content |= {"model_type": "custom", "auto_map": {"AutoConfig": "custom.Config", "AutoModel": "custom.Model"}}
    else:
        content[0]["type"] = "custom.Transformer"
    (folder / file).write_text(json.dumps(content))
    for allow_pickle in (False, True):
        with pytest.raises(CheckpointError, match=str(folder)):
            read_checkpoint(folder, allow_pickle=allow_pickle)
    assert not (tmp_path / "ran").exists()


# Tokenizer


def slow_tokenizer(folder: Path, name: str) -> Any:
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]), encoding="utf-8")
    tokenizer = type(name, (BertTokenizerLegacy,), {})(str(folder / "vocab.txt"))
    assert getattr(tokenizer, "backend_tokenizer", None) is None
    return tokenizer


def test_a_slow_tokenizer_is_converted(tmp_path: Path) -> None:
    slow = slow_tokenizer(tmp_path, "BertTokenizer")
    text = "the quick brown fox, 한국 어 and back again"
    converted = read_tokenizer(slow, 8)
    assert converted.encode(text).ids == slow(text, truncation=True, max_length=8)["input_ids"]


def test_a_slow_tokenizer_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="BertTokenizerLegacy"):
        read_tokenizer(slow_tokenizer(tmp_path, "BertTokenizerLegacy"), 8)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizer_file_says_where_to_cut_and_how_to_pad(side: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.truncation_side = side
    copy = read_tokenizer(tokenizer, 5)
    texts = ["the quick brown fox runs home", "the"]
    encodings = copy.encode_batch(texts)
    assert encodings[0].ids == tokenizer(texts[0], truncation=True, max_length=5)["input_ids"]
    assert encodings[1].ids[-2:] == [tokenizer.pad_token_id] * 2
    assert encodings[1].attention_mask == [1, 1, 1, 0, 0]


# Fingerprint


def fingerprint(folder: Path, **options: Any) -> str:
    return read_checkpoint(make_checkpoint(folder, **options)).fingerprint


def test_the_same_checkpoint_elsewhere_has_the_same_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"architecture": "bert"},
        {"pooling": "cls"},
        {"max_seq_length": 31, "max_position_embeddings": 34},
        {"normalize": True},
        {"further_modules": [Dense(HIDDEN, HIDDEN)]},
        {"hidden_act": "relu"},
        {"layer_norm_eps": 1e-3},
        {"include_prompt": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_decides_the_vectors_changes_the_fingerprint(options: dict[str, Any], tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b", **options)


def test_one_weight_of_a_dense_changes_the_fingerprint(tmp_path: Path) -> None:
    dense = Dense(HIDDEN, 8)
    before = fingerprint(tmp_path / "a", further_modules=[dense])
    dense.linear.weight.data[0, 0] += 1e-3
    assert fingerprint(tmp_path / "b", further_modules=[dense]) != before


def test_another_tokenizer_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    before = read_checkpoint(folder).fingerprint
    edit_json(folder / "tokenizer.json", normalizer={"type": "Lowercase"})
    assert read_checkpoint(folder).fingerprint != before


def test_prompts_change_the_fingerprint(tmp_path: Path) -> None:
    """Clients put prompts before texts. Empty prompts, which sentence-transformers adds, change no text."""
    folder = make_checkpoint(tmp_path)
    config = folder / "config_sentence_transformers.json"
    found = []
    for settings in (
        {"prompts": {}, "default_prompt_name": None},
        {"prompts": {"query": "", "document": ""}, "default_prompt_name": None},
        {"prompts": {"query": "the fox "}, "default_prompt_name": None},
        {"prompts": {"query": "the dog "}, "default_prompt_name": None},
        {"prompts": {"query": "the dog "}, "default_prompt_name": "query"},
    ):
        edit_json(config, **settings)
        found.append(read_checkpoint(folder).fingerprint)
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_the_content_key_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    before = content_key(tmp_path)
    (tmp_path / "a").rename(tmp_path / "c")
    renamed = content_key(tmp_path)
    (tmp_path / "c").write_text("3")
    assert len({before, renamed, content_key(tmp_path)}) == 3
