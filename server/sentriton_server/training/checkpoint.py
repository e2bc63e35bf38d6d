"""From an architecture to an encoder, from an encoder to a sentence-transformers model, and from that to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import RobertaConfig, RobertaForMaskedLM

from sentriton_server.training.recipe import Architecture

WEIGHTS = "model.safetensors"
LAST_CALL = (
    "is_local",
    "local_files_only",
    "max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding_side",
    "stride",
    "truncation_side",
    "truncation_strategy",
)  # what a tokenizer notes down about how it was last loaded and called


def new_encoder(architecture: Architecture, tokenizer: Any) -> RobertaForMaskedLM:
    """A RoBERTa with random weights and a masked-language-model head, sized for a tokenizer."""
    return RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=len(tokenizer),
            num_hidden_layers=architecture.layers,
            hidden_size=architecture.hidden,
            num_attention_heads=architecture.heads,
            intermediate_size=architecture.intermediate,
            # RoBERTa counts positions from pad_token_id + 1.
            max_position_embeddings=architecture.max_seq_length + tokenizer.pad_token_id + 1,
            type_vocab_size=1,
            bos_token_id=tokenizer.cls_token_id,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )
    )


def sentence_model(encoder: RobertaForMaskedLM, tokenizer: Any, folder: Path) -> SentenceTransformer:
    """Put mean pooling and cosine similarity on an encoder; `folder` carries it from one library to the other."""
    encoder.save_pretrained(folder)
    _save_tokenizer(tokenizer, folder)
    transformer = Transformer(str(folder), max_seq_length=tokenizer.model_max_length)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[transformer, pooling], similarity_fn_name="cosine", device="cpu")


def save_checkpoint(model: SentenceTransformer, folder: Path) -> SentenceTransformer:
    """Write a model with its weights rounded to float16 on disk, half the size, and return it as it loads again.

    The configuration keeps saying float32, so every reader computes in float32 with the rounded weights.
    """
    model.save(str(folder), create_model_card=False)
    _save_tokenizer(model.tokenizer, folder)
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor.to(torch.float16) for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a server is often someone else
    return SentenceTransformer(str(folder), device="cpu")


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer without the padding and truncation of the last batch it saw, which it else keeps as its own."""
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    for key in LAST_CALL:
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(folder)
