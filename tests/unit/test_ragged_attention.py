"""Attention by CUDA's kernels for ragged rows, as far as a CPU shows it.

The kernels themselves need a GPU. Here, the operators' documented arithmetic replaces them on the CPU, and shows that
they get the right arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sentriton_server.encoder import PRECISIONS, compile_encoder
from sentriton_server.encoder.attention import Attention, lay_out_ragged
from sentriton_server.encoder.ragged import EFFICIENT, FLASH, PADDED, kernel_here, ragged_kernel
from tests.unit.test_attention import HEAD_SIZE, HEADS, attend
from tests.unit.test_packed_encoder import RAGGED, assert_close, encode, packed, reference

GPU_PRECISIONS = [precision for precision in PRECISIONS.values() if "gpu" in precision.devices]
# The declarations of torch 2.5.1 (native_functions.yaml).
OLDEST = {
    "_flash_attention_forward": "aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, "
    "Tensor? cum_seq_q, Tensor? cum_seq_k, SymInt max_q, SymInt max_k, float dropout_p, bool is_causal, "
    "bool return_debug_mask, *, float? scale=None, SymInt? window_size_left=None, SymInt? window_size_right=None, "
    "Tensor? seqused_k=None, Tensor? alibi_slopes=None) -> (Tensor output, Tensor softmax_logsumexp, "
    "Tensor philox_seed, Tensor philox_offset, Tensor debug_attn_mask)",
    "_efficient_attention_forward": "aten::_efficient_attention_forward(Tensor query, Tensor key, Tensor value, "
    "Tensor? bias, Tensor? cu_seqlens_q, Tensor? cu_seqlens_k, SymInt? max_seqlen_q, SymInt? max_seqlen_k, "
    "float dropout_p, int custom_mask_type, bool compute_log_sumexp=False, *, float? scale=None, "
    "Tensor? seqlen_k=None, int? window_size=None) -> (Tensor output, Tensor logsumexp, Tensor philox_seed, "
    "Tensor philox_offset, SymInt max_seqlen_batch_q, SymInt max_seqlen_batch_k)",
    "_fused_sdp_choice": "aten::_fused_sdp_choice(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, "
    "float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> int",
}


class Kernels:
    """The two kernels on the CPU, row by row, and how often each was called."""

    def __init__(self) -> None:
        self.calls = {FLASH: 0, EFFICIENT: 0}
        self._library = torch.library.Library("aten", "IMPL", "CPU")
        self._library.impl("_flash_attention_forward", self.flash)
        self._library.impl("_efficient_attention_forward", self.efficient)

    def remove(self) -> None:
        self._library._destroy()  # type: ignore[no-untyped-call]

    def flash(self, query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **further: Any) -> tuple[Tensor, ...]:
        cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, return_debug_mask = arguments
        assert query.dtype in (torch.float16, torch.bfloat16)
        assert (dropout_p, is_causal, return_debug_mask, max_q) == (0, False, False, max_k)
        self.calls[FLASH] += 1
        nothing = query.new_empty([0])
        return self.attend(query, key, value, cum_seq_q, cum_seq_k, max_q), nothing, nothing, nothing, nothing

    def efficient(self, query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **further: Any) -> tuple[Any, ...]:
        bias, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, custom_mask_type = arguments
        assert (bias, dropout_p, custom_mask_type, max_seqlen_q) == (None, 0, 0, max_seqlen_k)
        assert query.shape[0] == 1
        self.calls[EFFICIENT] += 1
        context = self.attend(query[0], key[0], value[0], cu_seqlens_q, cu_seqlens_k, max_seqlen_q)[None]
        nothing = query.new_empty([0])
        return context, nothing, nothing, nothing, max_seqlen_q, max_seqlen_k

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, ends: Tensor, ends_of_keys: Tensor, longest: int
    ) -> Tensor:
        assert ends.dtype == torch.int32
        assert ends.is_contiguous()
        assert torch.equal(ends, ends_of_keys)
        lengths = torch.diff(ends).tolist()
        assert sum(lengths) == len(query)
        assert max(lengths) == longest
        assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
        fused = torch.stack([query, key, value], dim=1).float()
        heads = fused.shape[2]
        rows = []
        for row in fused.split(lengths):
            q, k, v = row.permute([1, 2, 0, 3])
            rows.append(((q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(0, 1))
        context = torch.cat(rows).to(query.dtype)
        assert context.shape[1] == heads
        return context


@pytest.fixture
def kernels() -> Iterator[Kernels]:
    made = Kernels()
    yield made
    made.remove()


@pytest.mark.parametrize(
    ("kernel", "dtype"), [(FLASH, torch.float16), (FLASH, torch.bfloat16), (EFFICIENT, torch.float32)]
)
@pytest.mark.parametrize("lengths", [[5, 3, 1], [1, 20, 4, 4], [7]], ids=str)
def test_each_row_attends_to_itself_alone(
    lengths: list[int], kernel: str, dtype: torch.dtype, kernels: Kernels
) -> None:
    torch.manual_seed(0)
    query_key_value = torch.randn([sum(lengths), 3 * HEADS * HEAD_SIZE]).to(dtype)
    row_ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    layout = lay_out_ragged(row_ends, max(lengths), HEADS, kernel)
    found = torch.jit.script(Attention())(query_key_value, layout)
    expected = torch.cat([attend(row) for row in query_key_value.float().split(lengths)])
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-2 if kernel == FLASH else 1e-5, atol=1e-2)
    assert kernels.calls[kernel] == 1


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("precision", GPU_PRECISIONS, ids=lambda precision: precision.name)
def test_an_encoder_with_a_kernel_computes_what_it_computes_without(
    precision: Any, architecture: str, kernels: Kernels
) -> None:
    encoder = packed(architecture)
    encoder.kernel_device = "cpu"  # as if it were the one with the kernels
    layers = len(encoder.layers)
    with_kernel = compile_encoder(encoder, precision, "gpu")
    found, padded = encode(with_kernel, RAGGED), encode(compile_encoder(packed(architecture), precision, "gpu"), RAGGED)
    expected_calls = {FLASH: 0, EFFICIENT: 0}
    expected_calls[EFFICIENT if precision.name == "fp32" else FLASH] = layers
    assert kernels.calls == expected_calls
    tolerance = {"fp32": 1e-5, "fp16": 2e-2, "bf16": 2e-1}[precision.name]
    for row, ours, theirs in zip(RAGGED, found, padded, strict=True):
        assert_close(ours.float(), theirs.float(), tolerance)
        assert_close(ours.float(), reference(architecture, row), tolerance)


def test_nothing_waits_for_the_device_behind_the_check(kernels: Kernels) -> None:
    encoder = packed("roberta")
    encoder.kernel_device = "cpu"
    compiled = compile_encoder(encoder, PRECISIONS["fp32"], "gpu")
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        encode(compiled, RAGGED)
    called = {event.key for event in profiled.key_averages()}
    assert "aten::_efficient_attention_forward" in called
    waiting = {"nonzero", "bincount", "item", "_local_scalar_dense", "is_nonzero", "unique", "masked_select"}
    assert not {f"aten::{name}" for name in waiting} & called
    assert not {"aten::sort", "aten::index_copy_", "aten::scaled_dot_product_attention"} & called, "nothing is gathered"


@pytest.mark.parametrize("precision", GPU_PRECISIONS, ids=lambda precision: precision.name)
def test_a_module_for_a_gpu_loads_and_runs_on_a_cpu_without_the_kernels(precision: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "model.pt")
    compile_encoder(packed("roberta"), precision, "gpu").save(file)
    loaded = torch.jit.load(file)
    assert loaded.kernel in (FLASH, EFFICIENT)
    assert_close(encode(loaded, RAGGED)[0].float(), reference("roberta", RAGGED[0]), 0.2)


@pytest.mark.parametrize(
    ("dtype", "head_size", "kernel"),
    [
        (torch.float16, 64, FLASH),
        (torch.bfloat16, 256, FLASH),
        (torch.bfloat16, 264, PADDED),
        (torch.float16, 12, PADDED),
        (torch.float32, 64, EFFICIENT),
        (torch.float32, 4, EFFICIENT),
        (torch.float32, 6, PADDED),
    ],
)
def test_the_kernel_is_chosen_by_precision_and_size_of_heads(dtype: torch.dtype, head_size: int, kernel: str) -> None:
    assert ragged_kernel(dtype, head_size) == kernel


@pytest.mark.parametrize(
    ("choice", "wanted", "kernel"),
    [(0, FLASH, PADDED), (1, FLASH, FLASH), (2, FLASH, EFFICIENT), (3, FLASH, FLASH), (2, EFFICIENT, EFFICIENT)],
)
def test_a_card_without_the_kernel_gets_the_next(
    choice: int, wanted: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch chooses none (0), FlashAttention's (1), the memory-efficient one (2) or cuDNN's (3)."""
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *heads: choice)
    assert kernel_here(wanted, torch.empty([1, 2, 4, 8])) == kernel


@pytest.mark.parametrize("name", OLDEST)
def test_the_operators_take_what_those_of_torch_2_5_take(name: str) -> None:
    oldest = torch._C.parse_schema(OLDEST[name])
    newest = getattr(torch.ops.aten, name).default._schema
    positional = [argument for argument in oldest.arguments if not argument.kwarg_only]
    for ours, theirs in zip(positional, newest.arguments, strict=False):
        assert (ours.name, str(ours.type)) == (theirs.name, str(theirs.type))
    assert all(argument.has_default_value() for argument in newest.arguments[len(positional) :])
    assert [str(returned.type) for returned in oldest.returns] == [str(returned.type) for returned in newest.returns]
