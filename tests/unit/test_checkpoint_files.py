"""Broken, hostile, misplaced or missing files of a checkpoint: one readable sentence."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers.base.modules import Dense

from sentriton_server.checkpoint import CheckpointError, content_key, locate_checkpoint, read_checkpoint
from tests.checkpoint_changes import (
    HIDDEN,
    JSON_FILES,
    edit_json,
    refused,
)
from tests.checkpoints import make_checkpoint

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


def test_a_prompt_with_half_a_character_is_refused_at_once(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    edit_json(folder / "config_sentence_transformers.json", prompts={"query": "find \ud83d"})
    assert "prompts {'query': 'find \\ud83d'} with a lone surrogate" in refused(folder)


@pytest.mark.parametrize("file", ["../elsewhere.safetensors", "/elsewhere.safetensors", 5, None])
@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_weights_outside_the_checkpoint_are_refused(kind: str, file: Any, tmp_path: Path) -> None:
    # The cache would serve the old export after a change of that file.
    folder = make_checkpoint(tmp_path)
    edit_json(folder / f"{kind}.index.json", weight_map={"embeddings.word_embeddings.weight": file})
    assert f"{kind}.index.json has a weight_map that is no object of paths inside the checkpoint" in refused(folder)


@pytest.mark.parametrize("name", ["tokenizer_args", "processor_kwargs"])
def test_a_tokenizer_outside_the_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    shutil.copy(folder / "tokenizer.json", tmp_path)
    edit_json(folder / "sentence_bert_config.json", **{name: {"tokenizer_file": str(tmp_path / "tokenizer.json")}})
    assert "name files of their own (tokenizer_file); save the checkpoint with its tokenizer" in refused(folder)


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


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "other.safetensors.index.json"])
def test_a_pickle_in_an_index_of_safetensors_is_refused(index: str, tmp_path: Path) -> None:
    """transformers reads a file as a pickle by its own name. The name of the index does not matter."""
    folder = make_checkpoint(tmp_path)
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "weights.bin")
    (folder / "model.safetensors").rename(folder / "unused.safetensors")
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(state, "weights.bin")}))
    if index.startswith("other"):
        edit_json(folder / "config.json", transformers_weights=index)
    assert f"{index} names 'weights.bin'; allowed are .safetensors files, since other files" in refused(folder)


def test_a_pickle_in_the_configuration_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "adapter_model.bin")
    edit_json(folder / "config.json", transformers_weights="adapter_model.bin")
    assert "its transformers_weights is 'adapter_model.bin'; allowed are .safetensors files" in refused(folder)


def test_a_weight_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "has no weights in a .safetensors file" in refused(folder)


def test_a_pointer_in_the_place_of_the_weights_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 12345\n")
    assert "only 54 bytes; correct the sizes, or download the weights again" in refused(folder)


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", "loop"])
def test_a_path_that_cannot_be_looked_at_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    Path("loop").symlink_to("loop")
    with pytest.raises(CheckpointError):
        locate_checkpoint(source)


def test_a_folder_with_only_an_adapter_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    assert "is a PEFT adapter (adapter_config.json) of 'org/base'" in refused(tmp_path)


def test_the_content_key_follows_links_to_folders(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "checkpoint", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "1_Pooling").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    before = content_key(folder)
    (elsewhere / "config.json").write_text("{}")
    assert content_key(folder) != before


def test_bytes_that_move_from_file_to_file_change_the_content_key(tmp_path: Path) -> None:
    keys = set()
    for first, second in (("a", "bc"), ("ab", "c")):
        (tmp_path / "1").write_text(first)
        (tmp_path / "2").write_text(second)
        keys.add(content_key(tmp_path))
    assert len(keys) == 2


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
