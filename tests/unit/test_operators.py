"""Sentriton's operators against torch's."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from sentriton_server.encoder import PRECISIONS, compile_encoder, operators, read_encoder
from sentriton_server.encoder.operators import (
    EncoderSizes,
    OperatorsUnavailable,
    build_library,
    check_sizes,
    load_library,
)
from sentriton_server.encoder.packed import LayerMix

LEAST_COSINE = {"fp32": 1 - 1e-6, "bf16": 0.9999, "int8": 0.999}
LENGTHS = [1, 2, 3, 7, 12, 13, 16, 17, 31, 32, 33, 50, 64, 65, 100, 130]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}

every_precision = pytest.mark.parametrize("precision", LEAST_COSINE)
by_each_instruction_set = pytest.mark.usefixtures("instructions")


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    try:
        load_library(build_library().parent)
    except OperatorsUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(params=["AVX-512", "AVX2"])
def instructions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Orders and computes by this instruction set."""
    try:
        torch.ops.sentriton.use_instructions(request.param)
    except RuntimeError:
        pytest.skip(f"this processor has no {request.param}")
    yield
    torch.ops.sentriton.use_instructions("")


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


@by_each_instruction_set
def test_the_largest_sums_of_8_bit_products_are_whole() -> None:
    skip_unless_suited("int8")
    size, tokens = 64, 8
    hidden = torch.ones(tokens, size)
    hidden[:, 0] = 0  # becomes the number 0, and the ones become 255
    signs = torch.tensor([1.0, -1.0]).repeat(size // 2)
    numbers = (signs[:, None] * 127).repeat(1, size)
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
