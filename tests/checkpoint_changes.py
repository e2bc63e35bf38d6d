"""Changes a checkpoint's files, and exports the changed checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from sentriton_server.checkpoint import CheckpointError, read_checkpoint
from sentriton_server.export import export
from sentriton_server.parity import ExportedModel

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
    """The error message of a rejected checkpoint."""
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
