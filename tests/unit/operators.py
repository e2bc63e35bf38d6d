"""Encoders with Sentriton's operators, and marks of their tests."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from sentriton_server.encoder import PRECISIONS, compile_encoder, read_encoder

LEAST_COSINE = {"fp32": 1 - 1e-6, "bf16": 0.9999, "int8": 0.999}
LENGTHS = [1, 2, 3, 7, 12, 13, 16, 17, 31, 32, 33, 50, 64, 65, 100, 130]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}

every_precision = pytest.mark.parametrize("precision", LEAST_COSINE)
by_each_instruction_set = pytest.mark.usefixtures("instructions")


@functools.cache
def hugging_face(
    activation: str = "gelu",
    hidden: int = 128,
    heads: int = 4,
    intermediate: int = 352,
    by_distance: bool = False,
    positions: int = 140,
) -> Any:
    torch.manual_seed(3)
    kind, model = (MPNetConfig, MPNetModel) if by_distance else (RobertaConfig, RobertaModel)
    config = kind(
        vocab_size=90,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        hidden_act=activation,
        pad_token_id=1,
        initializer_range=0.1,
    )
    encoder = model(config, add_pooling_layer=False).eval()
    if by_distance:
        with torch.no_grad():  # as large as other scores
            encoder.encoder.relative_attention_bias.weight.normal_(std=2)
    return encoder


def compiled(precision: str, by_operators: bool, **sizes: Any) -> Any:
    return compiled_for(torch.ops.sentriton.instructions() if by_operators else None, precision, **sizes)


@functools.cache
def compiled_for(instructions: str | None, precision: str, **sizes: Any) -> Any:
    """By the operators, whose `instructions` determine the order of the weights, or by torch's."""
    _, encoder = read_encoder(hugging_face(**sizes), None)
    return compile_encoder(encoder, PRECISIONS[precision], operators=instructions is not None)


def embed(encoder: Any, lengths: list[int]) -> list[Tensor]:
    """The token embeddings of rows of these lengths. Rows of one length always have the same tokens."""
    rows = [random.Random(length).choices(range(2, 90), k=length) for length in lengths]
    ids = torch.tensor([[token] for row in rows for token in row], dtype=torch.int32)
    number = torch.tensor([[at] for at, row in enumerate(rows) for _ in row], dtype=torch.int32)
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        found: Tensor = encoder(ids, number, torch.zeros_like(ids, dtype=torch.int64))
    return list(found.split(lengths))


@contextlib.contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def skip_unless_suited(precision: str) -> None:
    if not torch.ops.sentriton.suits(DTYPES[precision]):
        pytest.skip(f"the operators have no {precision} on this processor")
