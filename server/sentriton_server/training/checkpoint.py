"""From an architecture to an encoder, from an encoder to a sentence-transformers model, and from that to its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import nn
from transformers import PreTrainedTokenizerFast, RobertaConfig

from sentriton.errors import InvalidInput, SentritonError
from sentriton_server.checkpoint import CheckpointError, read_checkpoint, read_unserved
from sentriton_server.checkpoint.reading import HUB_ID
from sentriton_server.memory import GIB, available_memory
from sentriton_server.training.masked_tokens import MaskedTokenModel
from sentriton_server.training.recipe import MIN_SEQ_LENGTH, Architecture

TOKEN_VECTOR_SCALE = 0.08  # random embeddings have 0.02: known vectors outweigh random positions
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BYTES_PER_PARAMETER = 16  # in float32: weights, gradients and the two moments of AdamW
WEIGHTS_FILE = "model.safetensors"
LAST_CALL_SETTINGS = (
    "is_local",
    "local_files_only",
    "max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding_side",
    "stride",
    "truncation_side",
    "truncation_strategy",
)  # a tokenizer's notes on how it was last loaded and called


def autocast_type() -> str | None:
    """The 16-bit type of matrix products in training, or None for float32. Without instructions for bfloat16, a batch
    takes 25 times as long as in float32.
    """
    if DEVICE == "cuda":
        return "float16"
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


def require_memory(architecture: Architecture, vocab_size: int, available: int | None = None) -> None:
    """Raise `InvalidInput` if training an architecture with `vocab_size` tokens needs more than `available` bytes.

    The default is the free memory of the device that trains.
    """
    if available is None:
        available = torch.cuda.mem_get_info()[0] if DEVICE == "cuda" else available_memory()
    hidden, intermediate = architecture.hidden, architecture.intermediate
    layer = 4 * hidden**2 + 2 * hidden * intermediate
    parameters = (vocab_size + architecture.max_seq_length) * hidden + architecture.layers * layer
    needed = parameters * BYTES_PER_PARAMETER
    if needed > available:
        raise InvalidInput(
            f"layers = {architecture.layers}, hidden = {hidden}, intermediate = {intermediate}, with {vocab_size:,} "
            f"tokens: training needs {needed / GIB:,.1f} GiB of memory or more, and {available / GIB:,.1f} GiB are "
            "available; give smaller numbers, or free memory"
        )


def new_encoder(
    architecture: Architecture, tokenizer: Any, vectors: npt.NDArray[np.float32] | None = None
) -> MaskedTokenModel:
    """A RoBERTa with random weights and a masked-language-model head, sized for a tokenizer.

    `vectors` (len(tokenizer), hidden) become its token embeddings; a token whose vector is 0 keeps its random one.
    """
    encoder = MaskedTokenModel(
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
    if vectors is not None:
        given = torch.from_numpy(vectors).mul(TOKEN_VECTOR_SCALE)
        seen = given.any(dim=1)
        with torch.no_grad():
            encoder.roberta.embeddings.word_embeddings.weight[seen] = given[seen]
    return encoder


def save_encoder(encoder: MaskedTokenModel, tokenizer: Any, folder: Path) -> None:
    """Write an encoder, its masked-language-model head and its tokenizer."""
    encoder.save_pretrained(folder)
    _save_tokenizer(tokenizer, folder)


def load_encoder(folder: Path) -> tuple[MaskedTokenModel, Any]:
    """The files of `save_encoder`: the encoder with its head, and the tokenizer."""
    return MaskedTokenModel.from_pretrained(folder), PreTrainedTokenizerFast.from_pretrained(folder)


def load_base(name: str, *, allow_pickle: bool) -> SentenceTransformer:
    """A checkpoint by folder or hub id, in float32. Sentriton must be able to serve it, as it will serve the result.

    Raises `InvalidInput` or `CheckpointError`.
    """
    require_name(name, "--base")
    return read_checkpoint(name, allow_pickle=allow_pickle).model.to(DEVICE)


def load_teacher(name: str, *, allow_pickle: bool) -> SentenceTransformer:
    """A checkpoint by folder or hub id, perhaps of a kind that Sentriton cannot serve.

    Raises `InvalidInput` or `CheckpointError`.
    """
    require_name(name, "teacher")
    model = read_unserved(name, allow_pickle=allow_pickle)
    limit, longest = model.max_seq_length, longest_input(model)
    if limit not in (None, math.inf) and (type(limit) is not int or limit < MIN_SEQ_LENGTH):
        raise CheckpointError(
            f"cannot load checkpoint {name}: its max_seq_length is {limit!r}; allowed are integers from "
            f"{MIN_SEQ_LENGTH}, or null for the longest"
        )
    if longest < (math.inf if limit is None else limit):
        model.max_seq_length = longest  # it fails on texts beyond the table of positions
    return model.to(DEVICE)


def require_name(name: str, role: str) -> None:
    """Raise `InvalidInput` for a checkpoint that is neither a path nor a hub id."""
    if not name or not (Path(name).exists() or HUB_ID.fullmatch(name)):
        raise InvalidInput(f"{role} is {name!r}, which does not exist; give a checkpoint's folder or hub id")


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Raises `SentritonError` for the errors of libraries that cannot write weights: they are no `OSError`s."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if not any(words in reason for words in ("I/O error", "PytorchStreamWriter", "inline_container")):
            raise
        raise SentritonError(
            f"{folder} cannot be written: {reason}; check the free space, and run the same command to resume"
        ) from error


def longest_input(model: SentenceTransformer) -> float:
    """The number of tokens that the table of positions of a model's encoder allows; without one, infinity."""
    tables = (each for name, each in model.named_modules() if name.endswith(".position_embeddings"))
    position = next(tables, None)
    if isinstance(position, nn.Embedding):
        # RoBERTa's kind counts positions from behind the padding's.
        return position.num_embeddings - (0 if position.padding_idx is None else position.padding_idx + 1)
    return math.inf


def sentence_model(folder: Path) -> SentenceTransformer:
    """Put mean pooling and cosine similarity on an encoder that `save_encoder` wrote."""
    transformer = Transformer(str(folder))
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[transformer, pooling], similarity_fn_name="cosine", device=DEVICE)


def save_checkpoint(model: SentenceTransformer, folder: Path) -> SentenceTransformer:
    """Write a model with its weights rounded to float16 on disk, half the size, and return it as it loads again.

    The configuration keeps saying float32, so every reader computes in float32 with the rounded weights.
    """
    model.save(str(folder), create_model_card=False)
    _save_tokenizer(model.tokenizer, folder)
    weights = load_file(folder / WEIGHTS_FILE)
    save_file({name: _rounded(tensor) for name, tensor in weights.items()}, folder / WEIGHTS_FILE, {"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)  # safetensors writes for the owner alone; a server is often someone else
    return SentenceTransformer(str(folder), device=DEVICE)


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in float16, or as it is if it has integers or numbers beyond float16."""
    rounded = tensor.to(torch.float16)
    return rounded if tensor.is_floating_point() and bool(rounded.isfinite().all()) else tensor


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer without the padding and truncation of the last batch it saw, which it else keeps as its own."""
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    for key in LAST_CALL_SETTINGS:
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(folder)
