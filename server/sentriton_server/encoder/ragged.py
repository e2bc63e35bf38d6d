"""Attention by CUDA kernels for ragged rows. They read the packed tokens and the rows' ends, without gathering, padding
or masks. Query, key and value are views of the fused projection.

The operators are those of torch's `scaled_dot_product_attention`. Their names are private, but their schemas have not
changed since torch 2.5 (tests/unit/test_ragged_attention.py). CPUs, older cards and unsupported head sizes use the
padded attention of attention.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Kernels: none, FlashAttention (float16, bfloat16), or memory-efficient attention (float32, and older cards).
# TorchScript cannot read constants of modules, so its functions repeat these names.
PADDED = ""
FLASH = "flash"
EFFICIENT = "efficient"

_MAX_FLASH_HEAD_SIZE = 256
_FLASH_HEAD_MULTIPLE = 8
_EFFICIENT_ALIGNMENT_BYTES = 16


def ragged_kernel(dtype: torch.dtype, head_size: int) -> str:
    """The attention kernel for heads of this size, chosen at export. The module later checks that the GPU has it."""
    if dtype in (torch.float16, torch.bfloat16):
        flash = head_size % _FLASH_HEAD_MULTIPLE == 0 and head_size <= _MAX_FLASH_HEAD_SIZE
        return FLASH if flash else PADDED
    return EFFICIENT if head_size * dtype.itemsize % _EFFICIENT_ALIGNMENT_BYTES == 0 else PADDED


def kernel_here(kernel: str, heads: Tensor) -> str:
    """The kernel to use on this device. `heads` [1, heads, tokens, head_size] has the dtype and the device of the
    computation. Its values have no effect, and the call does not wait for the device.
    """
    choice = torch._fused_sdp_choice(heads, heads, heads)
    if choice == 0:  # the unfused kernel
        return ""
    # 2 is the memory-efficient kernel. For other answers at 16 bits, FlashAttention's kernel runs as well.
    return "efficient" if choice == 2 else kernel


def attend_ragged(query_key_value: Tensor, row_ends: Tensor, longest: int, heads: int, kernel: str) -> Tensor:
    """Compute the context [tokens, hidden] from `query_key_value` [tokens, 3 * hidden]. `row_ends` [rows + 1] int32 is
    0 and the number of tokens up to each row's end. `longest` is the length of the longest row.
    """
    hidden = query_key_value.size(1) // 3
    query, key, value = query_key_value.view([-1, 3, heads, hidden // heads]).unbind(1)
    if kernel == "flash":
        context = torch.ops.aten._flash_attention_forward(
            query, key, value, row_ends, row_ends, longest, longest, 0.0, False, False
        )[0]
    else:
        context = torch.ops.aten._efficient_attention_forward(
            query.unsqueeze(0),
            key.unsqueeze(0),
            value.unsqueeze(0),
            None,
            row_ends,
            row_ends,
            longest,
            longest,
            0.0,
            0,  # no causal mask
        )[0]
    return context.reshape([-1, hidden])
