"""JSON files changed at random: each checkpoint gives the vectors of sentence-transformers or a readable refusal."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

from sentriton.manifest import Manifest
from sentriton_server.checkpoint import CheckpointError
from sentriton_server.choices import ExportError
from sentriton_server.export import export
from sentriton_server.parity import ExportedModel
from tests.checkpoint_changes import JSON_FILES
from tests.checkpoints import make_checkpoint

CHECKPOINTS = 200
SENTENCES = ["한국어 문장을 바로 보내요", "the quick brown fox", "", "THE " * 50, "[CLS] the [SEP] [MASK]", " a  b "]
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    7,
    31,
    10**12,
    0.5,
    1e300,
    "",
    "x",
    "left",
    "mean",
    [],
    {},
    ["x"],
]
SETTINGS = [
    *("is_decoder", "add_cross_attention", "hidden_act", "chunk_size_feed_forward", "tie_word_embeddings", "dtype"),
    *("position_embedding_type", "num_labels", "torchscript", "output_hidden_states", "is_encoder_decoder"),
    *("max_seq_length", "do_lower_case", "processing_kwargs", "tokenizer_args", "model_args", "config_args"),
    *("query_length", "document_length", "query_expansion", "unpad_inputs", "modality_config", "module_output_name"),
    *("truncate_dim", "similarity_fn_name", "default_prompt_name", "prompts", "model_type", "requirements"),
    *("split_special_tokens", "padding_side", "truncation_side", "model_max_length", "add_prefix_space"),
    *("model_input_names", "clean_up_tokenization_spaces", "added_tokens_decoder", "extra_special_tokens"),
    *("pooling_mode", "include_prompt", "pooling_mode_cls_token", "pooling_mode_mean_tokens"),
    *("use_residual", "bias", "module_input_name", "module_output_name", "activation_function", "kwargs"),
]


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each value in a JSON document."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in inside for place in ((*path, key), *places(value, (*path, key)))]


def change(content: Any, dice: random.Random) -> None:
    """Add, remove or replace one value of a JSON document."""
    # A vocabulary has hundreds of entries that are alike.
    path = dice.choice([place for place in places(content) if "vocab" not in place[:-1]])
    within = content
    for key in path[:-1]:
        within = within[key]
    kind = dice.choice(["add", "remove", "replace", "replace"])
    if kind == "add" and isinstance(within, dict):
        within[dice.choice(SETTINGS)] = dice.choice(VALUES)
    elif kind == "remove":
        del within[path[-1]]
    else:
        within[path[-1]] = dice.choice(VALUES)


def exported(folder: Path, target: Path) -> Manifest | str:
    """The manifest of the export, or the sentence with which it is refused."""
    try:
        return export(folder, target, device="cpu", overwrite=True)
    except (CheckpointError, ExportError) as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")  # of libraries, about the very settings that are changed
@pytest.mark.parametrize("architecture", ["roberta", "bert"])
def test_a_changed_checkpoint_gives_the_same_vectors_or_a_sentence(architecture: str, tmp_path: Path) -> None:
    made = make_checkpoint(tmp_path, architecture=architecture, further_modules=[Dense(32, 12)], normalize=True)
    dice = random.Random(architecture)
    served = 0
    for number in range(CHECKPOINTS // 2):
        folder = shutil.copytree(made, tmp_path / f"changed-{number}")
        file = dice.choice(JSON_FILES)
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        for _ in range(dice.choice([1, 1, 2])):
            change(content, dice)
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
        manifest = exported(folder, tmp_path / "exported")
        if isinstance(manifest, str):
            assert "\n" not in manifest
            assert 40 < len(manifest) < 1500
        else:
            served += 1
            found = ExportedModel(tmp_path / "exported", "cpu").encode(SENTENCES)
            model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
            # The limit of the position table, beyond which sentence-transformers fails.
            model.max_seq_length = manifest.max_seq_length
            expected = model.encode(SENTENCES, prompt="", show_progress_bar=False)
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=f"{file}: {content}")
        shutil.rmtree(folder)
    # Neither all nor none: most settings are refused where they are wrong, or decide nothing.
    assert 10 < served < CHECKPOINTS // 2 - 10
