"""Sizes, tensors and libraries that the operators refuse by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sentriton_server.encoder import operators, read_encoder
from sentriton_server.encoder.operators import (
    EncoderSizes,
    OperatorsUnavailable,
    build_library,
    check_sizes,
    load_library,
)
from tests.unit.operators import (
    by_each_instruction_set,
    hugging_face,
    skip_unless_suited,
)

pytestmark = pytest.mark.usefixtures("library")


@pytest.mark.parametrize(
    ("sizes", "named"),
    [({"intermediate": 100}, "feed-forward size is 100"), ({"heads": 8}, "head size is 16; .* multiples of 32")],
    ids=["feed-forward", "head"],
)
def test_other_sizes_are_refused_by_name(sizes: dict[str, int], named: str) -> None:
    _, encoder = read_encoder(hugging_face(**sizes), None)
    with pytest.raises(OperatorsUnavailable, match=named):
        check_sizes(EncoderSizes.of(encoder))


def wrong(name: str) -> Any:
    """The arguments of the operator for one layer, one of them changed as named."""
    hidden, heads, lengths, activation = torch.randn(5, 64), 2, [2, 3], "gelu"
    distance_bias = torch.zeros(2, 9)
    weights = [torch.randn(size) for size in ((192, 64), (64, 64), (96, 64), (64, 96))]
    parameters = []
    for weight in weights:
        empty = torch.empty(0)
        parameters += [torch.ops.sentriton.order(weight), torch.randn(weight.size(0)), empty, empty]
    parameters += [torch.randn(64) for _ in range(4)]
    if name == "heads":
        heads = 3
    elif name == "tokens":
        lengths = [2, 4]
    elif name == "row":
        lengths = [5, 0]
    elif name == "activation":
        activation = "selu"
    elif name == "hidden":
        hidden = torch.randn(64, 5).t()
    elif name == "parameters":
        parameters.pop()
    elif name == "even distances":
        distance_bias = torch.zeros(2, 8)
    elif name == "heads of the bias":
        distance_bias = torch.zeros(1, 9)
    else:
        at, changed = {
            "query_key_value": (0, parameters[4]),
            "order": (4, weights[1]),
            "dtype": (8, parameters[8].double()),
            "another dtype": (8, parameters[8].to(torch.int8)),
            "output": (12, torch.ops.sentriton.order(torch.randn(64, 64))),
            "bias": (5, torch.randn(32)),
            "strided bias": (5, torch.randn(128)[::2]),
            "norm": (17, torch.randn(64, dtype=torch.float64)),
        }[name]
        parameters[at] = changed
    return hidden, parameters, lengths, heads, 1e-5, activation, distance_bias


@by_each_instruction_set
@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("heads", "given are 64 and 3 heads"),
        ("tokens", "as many tokens as the rows, 6"),
        ("row", "a row has at least one token"),
        ("activation", "the activation selu is unknown"),
        ("hidden", "the hidden must be contiguous float32"),
        ("parameters", "a layer has 20 parameters"),
        ("query_key_value", "the query_key_value must be an ordered weight of 192 outputs and 64 inputs, as Float"),
        ("order", "the attention_output must be an ordered weight"),
        ("dtype", "the operators have no Double on this processor"),
        ("another dtype", "the intermediate must be an ordered weight"),
        ("output", "the output must be an ordered weight of 64 outputs and 96 inputs"),
        ("bias", r"the bias must be contiguous float32 \[64\]"),
        ("strided bias", "the bias must be contiguous"),
        ("norm", "the norm must be contiguous float32"),
        ("even distances", r"an odd number of distances, of each head; given are \[2, 8\]"),
        ("heads of the bias", r"the bias by distance must be contiguous float32 \[18\]"),
    ],
)
def test_what_does_not_fit_the_layer_is_refused(name: str, refusal: str) -> None:
    skip_unless_suited("fp32")
    with pytest.raises(RuntimeError, match=refusal):
        torch.ops.sentriton.layers(*wrong(name))


def test_unknown_instructions_are_refused() -> None:
    before = torch.ops.sentriton.instructions()
    with pytest.raises(RuntimeError, match="this processor has no AVX-1024"):
        torch.ops.sentriton.use_instructions("AVX-1024")
    assert torch.ops.sentriton.instructions() == before


def test_a_weight_that_has_no_whole_panels_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a weight must have a multiple of 32 outputs"):
        torch.ops.sentriton.order(torch.randn(40, 64))


def test_a_second_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / operators.LIBRARY).write_bytes(build_library().read_bytes())
    load_library(tmp_path)
    (tmp_path / operators.LIBRARY).write_bytes(b"another")
    with pytest.raises(OperatorsUnavailable, match="this process has loaded other operators; start another process"):
        load_library(tmp_path)
