"""Reads exports for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from sentriton.manifest import Manifest

HIDDEN = 32
SENTENCES = ["한국어 문장을 바로 보내요", "the quick brown fox runs home", "", "the " * 50, "비가 온다"]


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def reference(checkpoint: Path, sentences: list[str] = SENTENCES, prompt: str = "") -> NDArray[np.float32]:
    model = SentenceTransformer(str(checkpoint), device="cpu")
    return model.encode(sentences, prompt=prompt, show_progress_bar=False)


def read_manifest(repository: Path) -> Manifest:
    return Manifest.from_json((repository / "assets/1/manifest.json").read_bytes())
