"""Writes a checkpoint in the format of sentence-transformers 5 and transformers 4, which some peers still require."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def write_older_checkpoint(checkpoint: Path, folder: Path) -> Path:
    """Copy a checkpoint of `benchmarks.checkpoints` (RoBERTa with mean pooling) to `folder`, in the older format."""
    shutil.copytree(checkpoint, folder)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    pooling = json.loads((folder / "1_Pooling/config.json").read_text(encoding="utf-8"))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    files: dict[str, Any] = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": tokenizer["model_max_length"], "do_lower_case": False},
        "tokenizer_config.json": {**tokenizer, "tokenizer_class": "PreTrainedTokenizerFast"},
        "1_Pooling/config.json": {
            "word_embedding_dimension": pooling["embedding_dimension"],
            "pooling_mode_mean_tokens": True,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder
