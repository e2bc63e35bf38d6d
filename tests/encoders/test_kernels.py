"""Every supported kind of encoder with a GPU's kernel for ragged rows, whose arithmetic replaces it on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentriton_server.encoder import FAMILIES, PRECISIONS, PackedEncoder, compile_encoder, precisions_of, read_encoder
from sentriton_server.encoder.ragged import EFFICIENT, FLASH
from tests.encoders import tokenizers
from tests.encoders.shapes import KIND_OF_TOKENIZER, LAYERS, LONGEST, make_config, make_encoder
from tests.unit.test_ragged_attention import Kernels

# Their scores change with distance, which the kernels do not have.
PADDED = {"mpnet", "modernbert"}
TOLERANCE = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 3e-1}
LENGTHS = (1, 130, 7, 33, 2, LONGEST)


@pytest.fixture
def kernels() -> Iterator[Kernels]:
    made = Kernels()
    yield made
    made.remove()


@pytest.fixture(scope="module", params=FAMILIES)
def kind(request: pytest.FixtureRequest) -> tuple[str, nn.Module, list[list[int]]]:
    """A model type, a tiny encoder of it, and rows of its vocabulary."""
    config = make_config(request.param, tokenizers.make(KIND_OF_TOKENIZER[request.param]))
    model = make_encoder(config)
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(5, config.vocab_size, [length], generator=generator).tolist() for length in LENGTHS]
    return request.param, model, rows


def encode(encoder: PackedEncoder, precision: str, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """The token embeddings of each row, by an encoder for a GPU."""
    compiled: Any = compile_encoder(encoder, PRECISIONS[precision], "gpu")
    ids = torch.tensor([[token] for row in rows for token in row], dtype=torch.int32)
    number = torch.tensor([[at] for at, row in enumerate(rows) for _ in row], dtype=torch.int32)
    with torch.inference_mode():
        embeddings: Tensor = compiled(ids, number, torch.zeros_like(ids, dtype=torch.int64))
    return list(embeddings.float().split([len(row) for row in rows]))


@pytest.mark.parametrize("precision", precisions_of("gpu"))
def test_it_computes_what_the_padded_way_computes(
    kind: tuple[str, nn.Module, list[list[int]]], precision: str, kernels: Kernels
) -> None:
    model_type, model, rows = kind
    encoders = [read_encoder(model, LONGEST)[1] for _ in range(2)]
    encoders[0].kernel_device = "cpu"  # as if it were the one with the kernels
    found, padded = (encode(encoder, precision, rows) for encoder in encoders)
    expected = {FLASH: 0, EFFICIENT: 0}
    expected[EFFICIENT if precision == "fp32" else FLASH] = 0 if model_type in PADDED else LAYERS
    assert kernels.calls == expected
    for row, ours, theirs in zip(rows, found, padded, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[precision])
        with torch.inference_mode():
            reference = model(torch.tensor([row])).last_hidden_state[0]
        cosines = torch.cosine_similarity(ours, reference)
        assert cosines.min() > PRECISIONS[precision].min_cosine
