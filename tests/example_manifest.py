"""A manifest for tests."""

from __future__ import annotations

from typing import Any

from sentriton.manifest import Manifest


def make_manifest(**changed: Any) -> Manifest:
    """A manifest such as export writes, with these fields changed."""
    values: dict[str, Any] = {
        "name": "모델",
        "fingerprint": "f" * 64,
        "dimension": 32,
        "max_seq_length": 32,
        "vocab_size": 96,
        "max_batch_size": 64,
        "pooling": ("cls", "mean"),
        "include_prompt": False,
        "prompts": {"query": "질문: ", "document": ""},
        "default_prompt_name": None,
        "similarity": "cosine",
        "precision": "int8",
        "device": "cpu",
        "min_cosine": 0.99,
        "parity": {"sentences": 67, "min_cosine": 0.999, "max_difference": 0.01, "min_prefix_cosine": 0.999},
        "files": {"tokenizer.json": "a" * 64},
        "sentriton_version": "0.1.0",
    }
    return Manifest(**{**values, **changed})
