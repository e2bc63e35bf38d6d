"""Checkpoints of any size with random weights, whose values do not change the time, and their exports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoTokenizer, RobertaConfig, RobertaModel

from sentriton_server.export import export
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving.source import exporter_key

VOCAB_SIZE = 32_000
# layers, hidden size, heads, feed-forward size
SIZES = {
    "1x64": (1, 64, 1, 256),
    "4x256": (4, 256, 4, 1024),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
}


def roberta_config(size: str, layers: int | None = None) -> RobertaConfig:
    """A RoBERTa of one of `SIZES` for up to 512 tokens. `layers` replaces its number of layers."""
    all_layers, hidden, heads, intermediate = SIZES[size]
    return RobertaConfig(
        vocab_size=VOCAB_SIZE,
        num_hidden_layers=layers or all_layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=514,
        pad_token_id=1,
        type_vocab_size=1,
    )


def make_checkpoint(size: str, folder: Path, *, layers: int | None = None) -> Path:
    """Write a RoBERTa of one of `SIZES` with mean pooling, up to 512 tokens and the bundled Korean tokenizer to
    `folder`. `layers` replaces its number of layers.
    """
    torch.manual_seed(0)
    config = roberta_config(size, layers)
    return save_checkpoint(RobertaModel(config), folder, f"roberta-{size}", max_seq_length=512)


def save_checkpoint(encoder: Any, folder: Path, name: str, *, max_seq_length: int) -> Path:
    """Write an encoder of transformers with mean pooling and the bundled Korean tokenizer to `folder`, under `name`."""
    encoder.save_pretrained(folder / "encoder")
    AutoTokenizer.from_pretrained(BUNDLED_CHECKPOINT).save_pretrained(folder / "encoder")
    transformer = Transformer(str(folder / "encoder"), max_seq_length=max_seq_length)
    model = SentenceTransformer(modules=[transformer, Pooling(encoder.config.hidden_size)], device="cpu")
    model.save(str(folder / name), create_model_card=False)
    return folder / name


def export_once(checkpoint: Path, folder: Path, *, precision: str, device: str) -> Path:
    """The export of a checkpoint below `folder`. A run reuses that of an earlier one, and replaces that of another
    exporter.
    """
    name = f"sentriton-{device}-{precision}-"
    repository = folder / f"{name}{exporter_key()}"
    if not repository.exists():
        for other in folder.glob(f"{name}*"):
            shutil.rmtree(other)
        export(checkpoint, repository, precision=precision, device=device)
    return repository
