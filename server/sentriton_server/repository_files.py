"""Writes the files of a model repository for the parts of a checkpoint other than its encoder."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton_server.checkpoint import Checkpoint

GOLDEN_SENTENCES = 8


def write_tokenizer(checkpoint: Checkpoint, repository: Path) -> None:
    text = checkpoint.tokenizer.to_str()
    for model in ("embed_text", "assets"):
        (repository / model / "1/tokenizer.json").write_text(text, encoding="utf-8")


def write_head(checkpoint: Checkpoint, repository: Path) -> None:
    folder = repository / "pooling/1"
    write_json(folder / "head.json", {"modules": checkpoint.head_modules})
    np.savez(folder / "head.npz", **checkpoint.head_weights)


def write_contract(checkpoint: Checkpoint, repository: Path) -> None:
    """Write the limits of requests, and the key by which encoder and pooling recognize embed_tokens."""
    spec = checkpoint.encoder_spec
    checkpoint.encoder.key = secrets.randbelow(1 << 63)
    contract = {
        "fingerprint": checkpoint.fingerprint,
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.hidden_size,
        "max_seq_length": spec.max_seq_length,
        "pools_maximum": "max" in checkpoint.head_modules[0]["modes"],
        "key": checkpoint.encoder.key,
    }
    write_json(repository / "embed_tokens/1/contract.json", contract)
    for model in ("embed_text", "pooling"):
        write_json(repository / model / "1/key.json", {"key": checkpoint.encoder.key})


def write_golden(sentences: list[str], reference: NDArray[np.float32], repository: Path) -> None:
    golden = {
        "sentences": sentences[:GOLDEN_SENTENCES],
        "sentence_embedding": reference[:GOLDEN_SENTENCES].tolist(),
    }
    path = repository / "assets/1/golden.json"
    path.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
