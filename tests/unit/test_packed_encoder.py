"""The packed encoder against Hugging Face's modules, as TorchScript, at every precision."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import AlbertConfig, GteConfig, Qwen3Config, RobertaConfig, RobertaModel

from sentriton_server.encoder import (
    PRECISIONS,
    PackedEncoder,
    UnsupportedEncoder,
    check_config,
    compile_encoder,
    read_encoder,
)
from sentriton_server.encoder.activations import ACTIVATION_FUNCTIONS
from sentriton_server.encoder.attention import MAX_BMM_TOKENS, PADDING_MULTIPLE_TOKENS
from sentriton_server.encoder.linear import Int8Linear
from sentriton_server.encoder.packed import BLOCK_MULTIPLE_TOKENS, GPU_BLOCK_TOKENS
from sentriton_server.serving import warmup
from tests.checkpoints import ARCHITECTURES

VOCABULARY, HIDDEN, PAD, LONGEST, LAYERS = 60, 32, 1, 40, 2
LINEARS_PER_LAYER = 4
Row = Sequence[int]


@functools.cache
def hugging_face(architecture: str) -> nn.Module:
    """A random module with every parameter moved off its default, and several token types."""
    torch.manual_seed(7)
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LONGEST + 2,
        type_vocab_size=3,
        pad_token_id=PAD,
        initializer_range=0.3,
    )
    model = model_class(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def packed(architecture: str, block_tokens: int | None = None) -> PackedEncoder:
    _, encoder = read_encoder(hugging_face(architecture), LONGEST)
    encoder.block_tokens = block_tokens or encoder.block_tokens
    return encoder


@functools.cache
def compiled(architecture: str = "roberta", precision: str = "fp32", block_tokens: int | None = None) -> Any:
    return compile_encoder(packed(architecture, block_tokens), PRECISIONS[precision])


def encode(encoder: Any, rows: Sequence[Row], key: int = 0) -> list[Tensor]:
    """The token embeddings of each row. The call must return exactly one embedding per token."""
    ids = torch.tensor([[token] for row in rows for token in row], dtype=torch.int32)
    number = torch.tensor([[at] for at, row in enumerate(rows) for _ in row], dtype=torch.int32)
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        token_embeddings = encoder(ids, number, torch.full_like(ids, key, dtype=torch.int64))
    assert token_embeddings.shape == (len(ids), HIDDEN)
    return list(token_embeddings.split([len(row) for row in rows]))


def reference(architecture: str, row: Row) -> Tensor:
    """Hugging Face on this row alone."""
    with torch.inference_mode():
        return hugging_face(architecture)(torch.tensor([row])).last_hidden_state[0]


def random_row(length: int, seed: int = 0) -> list[int]:
    return random.Random(f"{length} {seed}").choices(range(PAD + 1, VOCABULARY), k=length)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
compact_precisions = pytest.mark.parametrize("precision", ["bf16", "int8"])
RAGGED = [random_row(length) for length in (3, LONGEST, 1, 17, 2, 39, 17, 8, LONGEST, 5)]


@every_architecture
def test_ragged_rows_equal_hugging_face(architecture: str) -> None:
    for row, found in zip(RAGGED, encode(compiled(architecture), RAGGED), strict=True):
        assert_close(found, reference(architecture, row))


@every_architecture
@settings(max_examples=25)
@given(rows=st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_valid_rows_equal_hugging_face(architecture: str, rows: list[list[int]]) -> None:
    """Every id may occur, including the padding id."""
    for found, row in zip(encode(compiled(architecture), rows), rows, strict=True):
        assert_close(found, reference(architecture, row))


@pytest.mark.parametrize("block_tokens", [1, 45, 10_000])
def test_block_tokens_changes_nothing(block_tokens: int) -> None:
    for found, expected in zip(
        encode(compiled(block_tokens=block_tokens), RAGGED), encode(compiled(), RAGGED), strict=True
    ):
        assert_close(found, expected)


def test_order_of_rows_changes_nothing() -> None:
    forwards, backwards = encode(compiled(), RAGGED), encode(compiled(), RAGGED[::-1])
    for found, expected in zip(backwards[::-1], forwards, strict=True):
        assert_close(found, expected)


INVALID: dict[str, tuple[list[Row], str]] = {
    "negative id": ([[3, -1, 4]], "an id outside the vocabulary"),
    "id = vocab_size": ([[3, 4], [5, VOCABULARY, 4]], "an id outside the vocabulary"),
    "huge id": ([[3, 2**31 - 1, 4]], "an id outside the vocabulary"),
    "too long": ([random_row(5), random_row(LONGEST + 1)], "longer than max_seq_length"),
    "far too long": ([random_row(700)], "longer than max_seq_length"),
    "a row left out": ([[3, 4], [], [5]], "numbered 0, 1, 2"),
    "no first row": ([[], [3]], "numbered 0, 1, 2"),
}


@pytest.mark.parametrize(("rows", "said"), INVALID.values(), ids=INVALID)
def test_what_must_not_be_computed_is_an_error(rows: list[Row], said: str) -> None:
    with pytest.raises(torch.jit.Error, match=said):
        encode(compiled(), rows)


@pytest.mark.parametrize("numbers", [[0, 1, 0], [1, 1, 1], [0, 0, 2], [-1, 0, 1], [0, 2**31 - 1, 2**31 - 1]], ids=str)
def test_rows_out_of_order_are_an_error(numbers: list[int]) -> None:
    ids, row = torch.full((3, 1), 5, dtype=torch.int32), torch.tensor(numbers, dtype=torch.int32)[:, None]
    with pytest.raises(torch.jit.Error, match="numbered 0, 1, 2"):
        compiled()(ids, row, torch.zeros(3, 1, dtype=torch.int64))


def test_without_its_key_it_computes_nothing() -> None:
    encoder = packed("roberta")
    encoder.key = 2**63 - 1
    scripted = compile_encoder(encoder, PRECISIONS["fp32"])
    assert_close(encode(scripted, RAGGED, key=2**63 - 1)[0], reference("roberta", RAGGED[0]))
    with pytest.raises(torch.jit.Error, match="the encoder answers embed_tokens alone"):
        encode(scripted, RAGGED, key=0)


def cosines(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    return torch.cosine_similarity(torch.cat(list(first)), torch.cat(list(second)))


@every_architecture
@compact_precisions
def test_compact_precisions_keep_every_row_within_their_bound(architecture: str, precision: str) -> None:
    pooled = [
        [part.mean(dim=0, keepdim=True) for part in encode(compiled(architecture, name), RAGGED)]
        for name in (precision, "fp32")
    ]
    assert cosines(*pooled).min() >= PRECISIONS[precision].min_cosine


@compact_precisions
def test_compact_precisions_compute_something_else_than_fp32(precision: str) -> None:
    difference = encode(compiled(precision=precision), RAGGED)[1] - encode(compiled(), RAGGED)[1]
    assert difference.abs().max() > 1e-4


def test_int8_linear_gives_a_token_the_same_whatever_stands_beside_it() -> None:
    torch.manual_seed(0)
    linear = Int8Linear(nn.Linear(HIDDEN, 64))
    token, outlier = torch.randn(1, HIDDEN), torch.randn(1, HIDDEN) * 1000
    assert_close(linear(torch.cat([outlier, token, outlier]))[1:2], linear(token))


@pytest.mark.parametrize("offset", [0.0, 30.0], ids=["centred", "far from zero"])
def test_int8_linear_is_close_to_the_layer_it_replaces(offset: float) -> None:
    torch.manual_seed(0)
    linear, tokens = nn.Linear(HIDDEN, 64), torch.randn(50, HIDDEN) + offset
    with torch.inference_mode():
        error = Int8Linear(linear)(tokens) - linear(tokens)
    assert error.abs().max() < 0.05 + 0.01 * offset


def test_int8_linear_maps_a_constant_token_to_its_row_sums() -> None:
    """Each weight is rounded to a multiple of its scale, so four standard deviations of the sum are the bound."""
    torch.manual_seed(0)
    linear, token = nn.Linear(HIDDEN, 64), torch.full((1, HIDDEN), 2.0)
    with torch.inference_mode():
        compact = Int8Linear(linear)
        deviation = 2.0 * (HIDDEN / 12) ** 0.5 * compact.scales.max().item()
        assert_close(compact(token), linear(token), tolerance=4 * deviation)


@pytest.mark.parametrize("lengths", [[3, 12, 7], [40] * 30 + [1, 2]], ids=["one block", "several blocks"])
def test_linear_layers_see_the_tokens_and_no_padding(lengths: list[int]) -> None:
    rows = [random_row(length) for length in lengths]
    encoder = compiled(block_tokens=256)
    encode(encoder, rows)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        encode(encoder, rows)
    # The interpreter's whole stack is recorded; the operator's own arguments are the last six, its input the first.
    seen = [event.input_shapes[-6][0] for event in recorded.events() if event.name == "mkldnn::_linear_pointwise"]
    # Each block is filled exactly to a multiple of 8 tokens.
    filling = sum(seen) - sum(lengths) * LINEARS_PER_LAYER * LAYERS
    assert all(tokens % 8 == 0 for tokens in seen)
    assert 0 <= filling < 8 * len(seen)
    # Rows share a block up to its limit of tokens.
    assert max(lengths) < max(seen) <= 256


@pytest.mark.parametrize("precision", PRECISIONS)
def test_saved_modules_load_and_answer_the_same(precision: str, tmp_path: Path) -> None:
    encoder = compiled(precision=precision)
    encoder.save(str(tmp_path / "model.pt"))
    loaded = torch.jit.load(str(tmp_path / "model.pt"))
    for found, expected in zip(encode(loaded, RAGGED), encode(encoder, RAGGED), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_loaded_module_holds_each_weight_once_in_the_order_of_the_kernels(precision: str, tmp_path: Path) -> None:
    compiled(precision=precision).save(str(tmp_path / "model.pt"))
    linear = next(torch.jit.load(str(tmp_path / "model.pt")).layers.children()).intermediate
    assert linear.plain_weight.numel() == 0
    assert linear.weight.is_mkldnn


def test_for_a_gpu_the_layers_stay_what_they_are() -> None:
    encoder = compile_encoder(packed("roberta"), PRECISIONS["fp32"], "gpu")
    assert_close(encode(encoder, RAGGED)[0], reference("roberta", RAGGED[0]))
    assert encoder.block_tokens == GPU_BLOCK_TOKENS
    assert not next(encoder.layers.children()).intermediate.weight.is_mkldnn


@pytest.mark.parametrize("precision", PRECISIONS)
def test_token_embeddings_have_the_dtype_that_the_configuration_gets(precision: str) -> None:
    dtype = {"TYPE_FP32": torch.float32, "TYPE_FP16": torch.float16}[PRECISIONS[precision].output_dtype]
    assert encode(compiled(precision=precision), [[3, 4]])[0].dtype == dtype


@pytest.mark.parametrize("activation", ACTIVATION_FUNCTIONS)
def test_every_supported_activation_equals_hugging_face(activation: str) -> None:
    config_class, model_class = ARCHITECTURES["bert"]
    sizes = {"vocab_size": 30, "hidden_size": HIDDEN, "num_hidden_layers": 1, "intermediate_size": 64}
    torch.manual_seed(0)
    config = config_class(**sizes, num_attention_heads=4, hidden_act=activation, initializer_range=0.5)
    model = model_class(config, add_pooling_layer=False).eval()
    row = [5, 6, 7, 8]
    with torch.inference_mode():
        expected = model(torch.tensor([row])).last_hidden_state[0]
    assert_close(encode(read_encoder(model, None)[1], [row])[0], expected)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"hidden_act": "tanh"}, "hidden_act is 'tanh'; supported are gelu"),
        ({"is_decoder": True}, "decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_an_encoder_that_cannot_be_packed_is_refused_by_name(changed: dict[str, Any], named: str) -> None:
    config = RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = RobertaModel(config)
    for name, value in changed.items():
        setattr(model.config, name, value)
    with pytest.raises(UnsupportedEncoder, match=named):
        read_encoder(model, None)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (AlbertConfig(), "'albert'; supported are bert, .*; use an embedding model of one of these"),
        (Qwen3Config(), "'qwen3', a decoder: .*; supported are bert, .*; use an embedding model of one of these"),
    ],
    ids=["encoder", "decoder"],
)
def test_an_encoder_of_another_type_is_refused_by_name(config: Any, named: str) -> None:
    with pytest.raises(UnsupportedEncoder, match=named):
        check_config(config)


@pytest.mark.parametrize(
    ("rotation", "named"),
    [
        ({"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, "rope_parameters are .*'dynamic'"),
        ({"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}, "turn whole heads"),
    ],
    ids=["frequencies that change", "half of a head"],
)
def test_rotary_positions_of_another_kind_are_refused(rotation: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedEncoder, match=named):
        check_config(GteConfig(vocab_size=9, hidden_size=8, num_attention_heads=2, rope_parameters=rotation))


@pytest.mark.parametrize(("architecture", "first"), [("bert", 0), ("roberta", PAD + 1), ("xlm-roberta", PAD + 1)])
@pytest.mark.parametrize("asked", [None, 10_000])
def test_max_seq_length_is_capped_at_the_position_table(architecture: str, first: int, asked: int | None) -> None:
    spec, encoder = read_encoder(hugging_face(architecture), asked)
    assert spec.max_seq_length == encoder.max_seq_length == LONGEST + 2 - first
    row = random_row(spec.max_seq_length)
    assert_close(encode(encoder, [row])[0], reference(architecture, row))


def test_the_warm_up_knows_the_lengths_of_the_encoders_kernels() -> None:
    assert warmup.BLOCK_MULTIPLE_TOKENS == BLOCK_MULTIPLE_TOKENS
    assert warmup.MAX_BMM_TOKENS == MAX_BMM_TOKENS
    assert MAX_BMM_TOKENS % BLOCK_MULTIPLE_TOKENS == PADDING_MULTIPLE_TOKENS % BLOCK_MULTIPLE_TOKENS == 0
