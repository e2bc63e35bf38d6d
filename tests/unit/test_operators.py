"""The results of Sentriton's operators against those of torch's."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentriton_server.encoder import PRECISIONS, compile_encoder, read_encoder
from sentriton_server.encoder.packed import LayerMix
from tests.unit.operators import (
    LEAST_COSINE,
    LENGTHS,
    by_each_instruction_set,
    compiled,
    embed,
    every_precision,
    hugging_face,
    skip_unless_suited,
    threads_of_torch,
)

pytestmark = pytest.mark.usefixtures("library")


@by_each_instruction_set
@every_precision
@pytest.mark.parametrize("threads", [1, 2])
def test_the_operators_compute_what_torch_computes(precision: str, threads: int) -> None:
    skip_unless_suited(precision)
    with threads_of_torch(threads):
        found, expected = (torch.cat(embed(compiled(precision, own), LENGTHS)) for own in (True, False))
    assert torch.cosine_similarity(found.double(), expected.double()).min() >= LEAST_COSINE[precision]
    if precision == "fp32":
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@by_each_instruction_set
@pytest.mark.parametrize("threads", [1, 2])
def test_a_bias_by_distance(threads: int) -> None:
    skip_unless_suited("fp32")
    with threads_of_torch(threads):
        # The longest row has distances beyond those of the bias.
        found, expected = (torch.cat(embed(compiled("fp32", own, by_distance=True), LENGTHS)) for own in (True, False))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    without = torch.cat(embed(compiled("fp32", True), LENGTHS))
    assert not torch.allclose(found, without, atol=0.1)


@by_each_instruction_set
@pytest.mark.parametrize("by_distance", [False, True])
def test_rows_of_several_blocks_of_keys(by_distance: bool) -> None:
    skip_unless_suited("fp32")
    lengths, sizes = [1100, 1024, 600, 513, 512, 511, 20], {"by_distance": by_distance, "positions": 1110}
    found, expected = (embed(compiled("fp32", own, **sizes), lengths) for own in (True, False))
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), rtol=0, atol=2e-5)
    for length, together in zip(lengths, found, strict=True):
        assert torch.equal(together, embed(compiled("fp32", True, **sizes), [length])[0])


@by_each_instruction_set
@every_precision
@pytest.mark.parametrize("by_distance", [False, True])
def test_a_row_is_the_same_to_the_bit_alone_and_in_company(precision: str, by_distance: bool) -> None:
    skip_unless_suited(precision)
    encoder = compiled(precision, True, by_distance=by_distance)
    together = embed(encoder, LENGTHS * 3)
    for length, found in zip(LENGTHS * 3, together, strict=True):
        assert torch.equal(found, embed(encoder, [length])[0])


@by_each_instruction_set
@every_precision
def test_any_number_of_threads_gives_the_same_to_the_bit(precision: str) -> None:
    skip_unless_suited(precision)
    found = []  # of a block with many slices, and rows that cross from one slice to the next
    for threads in (1, 2, 3, 5, 2):
        with threads_of_torch(threads):
            found.append(torch.cat(embed(compiled(precision, True), LENGTHS * 3)))
    assert all(torch.equal(found[0], again) for again in found[1:])


@by_each_instruction_set
@every_precision
def test_a_mix_of_all_layers(precision: str) -> None:
    skip_unless_suited(precision)

    def mixing(by_operators: bool) -> Any:
        _, encoder = read_encoder(hugging_face(), None)
        encoder.mix = LayerMix(2)
        torch.nn.init.constant_(encoder.mix.weights, 0.5)
        return compile_encoder(encoder, PRECISIONS[precision], operators=by_operators)

    found, expected = (torch.cat(embed(mixing(own), LENGTHS)) for own in (True, False))
    assert torch.cosine_similarity(found.double(), expected.double()).min() >= LEAST_COSINE[precision]
    assert not torch.allclose(found, torch.cat(embed(compiled(precision, True), LENGTHS)), atol=0.1)


@every_precision
def test_on_a_processor_that_they_do_not_suit_torch_computes(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.cat(embed(compiled(precision, False), LENGTHS))
    monkeypatch.setattr(torch.ops.sentriton, "suits", lambda weights: False)
    monkeypatch.setattr(torch.jit, "script", lambda module: module)  # TorchScript would ask the library
    _, encoder = read_encoder(hugging_face(), None)
    found = torch.cat(embed(compile_encoder(encoder, PRECISIONS[precision], operators=True), LENGTHS))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


IN_BF16 = ("layers.0.output", "layers.0.query_key_value", "layers.1.attention_output", "layers.1.intermediate")


def mixed(by_operators: bool) -> Any:
    """With 8 bits, and some linear layers in bfloat16."""
    _, encoder = read_encoder(hugging_face(), None)
    return compile_encoder(encoder, PRECISIONS["int8"], operators=by_operators, in_bf16=IN_BF16)


@by_each_instruction_set
def test_linear_layers_of_two_types() -> None:
    skip_unless_suited("int8")
    skip_unless_suited("bf16")
    ours, torchs = mixed(True), mixed(False)
    found, expected = (torch.cat(embed(encoder, LENGTHS)) for encoder in (ours, torchs))
    assert torch.cosine_similarity(found.double(), expected.double()).min() >= LEAST_COSINE["int8"]
    assert not torch.equal(found, torch.cat(embed(compiled("int8", True), LENGTHS)))
    for length, together in zip(LENGTHS, embed(ours, LENGTHS), strict=True):
        assert torch.equal(together, embed(ours, [length])[0])


def test_on_a_processor_with_8_bits_alone_torch_computes_both_types(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.cat(embed(mixed(False), LENGTHS))
    monkeypatch.setattr(torch.ops.sentriton, "suits", lambda weights: weights != torch.bfloat16)
    monkeypatch.setattr(torch.jit, "script", lambda module: module)  # TorchScript would ask the library
    found = torch.cat(embed(mixed(True), LENGTHS))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@by_each_instruction_set
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_every_activation(activation: str) -> None:
    skip_unless_suited("fp32")
    found, expected = (torch.cat(embed(compiled("fp32", own, activation=activation), LENGTHS)) for own in (True, False))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@by_each_instruction_set
@pytest.mark.parametrize(("hidden", "heads", "intermediate"), [(64, 1, 256), (192, 6, 32), (96, 1, 1024)], ids=str)
def test_other_sizes(hidden: int, heads: int, intermediate: int) -> None:
    skip_unless_suited("fp32")
    sizes = {"hidden": hidden, "heads": heads, "intermediate": intermediate}
    found, expected = (torch.cat(embed(compiled("fp32", own, **sizes), LENGTHS)) for own in (True, False))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@by_each_instruction_set
def test_the_largest_sums_of_8_bit_products_are_whole() -> None:
    skip_unless_suited("int8")
    size, tokens = 64, 8
    hidden = torch.ones(tokens, size)
    hidden[:, 0] = 0  # becomes the number 0, and the ones become 255
    signs = torch.tensor([1.0, -1.0]).repeat(size // 2)
    numbers = (signs[:, None] * 127).repeat(1, size)
    if torch.ops.sentriton.cuts_sums_off():
        numbers[:, 1::2] = signs[:, None]  # 128 is the largest sum of two adjacent weights that stays whole
    numbers[:, 0] = 0
    nothing, parameters = torch.zeros(size), list[Tensor]()
    for weight in (torch.zeros(3 * size, size), torch.zeros(size, size), numbers, numbers):
        scales = torch.full([weight.size(0)], 1 / 127)
        parameters += [torch.ops.sentriton.order(weight.to(torch.int8)), torch.zeros_like(scales), scales]
        parameters.append(weight.sum(dim=1) * scales)
    parameters += [torch.ones(size), nothing, torch.ones(size), nothing]
    normalized = nn.functional.layer_norm(hidden, [size])
    inner = (normalized @ numbers.T / 127).relu()
    expected = nn.functional.layer_norm(normalized + inner @ numbers.T / 127, [size])
    torch.ops.sentriton.layers(hidden, parameters, [tokens], 2, 1e-5, "relu", torch.zeros(1, 1))
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-5)


@by_each_instruction_set
@every_precision
def test_a_block_takes_one_call_that_makes_no_parameter(precision: str) -> None:
    skip_unless_suited(precision)
    encoder, ids = compiled(precision, True), torch.arange(2, 10)
    with torch.inference_mode(), torch.profiler.profile() as profile, torch.jit.optimized_execution(False):
        encoder.encode_block(ids, ids, [5, 3], ids[:0], 0, "")
    names = [event.name for event in profile.events()]
    assert names.count("sentriton::layers") == 1
    before_it = names[names.index("sentriton::suits") : names.index("sentriton::layers")]
    assert not [name for name in before_it if name.startswith("aten::")]


LOAD_EACH = """
import sys, torch

for path in sys.argv[1:]:
    try:
        torch.jit.load(path)
        print("loaded")
    except RuntimeError as error:
        print("lacks them" if "sentriton::" in str(error) else error)
"""


def test_only_a_module_by_the_operators_needs_their_library(tmp_path: Path) -> None:
    """In one process without the library, since each takes seconds to import torch."""
    modules, expected = [], []
    for precision, by_operators in itertools.product(LEAST_COSINE, (False, True)):
        modules.append(str(tmp_path / f"{precision}-{by_operators}.pt"))
        compiled(precision, by_operators).save(modules[-1])
        expected.append("lacks them" if by_operators else "loaded")
    command = [sys.executable, "-W", "ignore", "-c", LOAD_EACH, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == expected
