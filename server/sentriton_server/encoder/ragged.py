"""Attention by CUDA's kernels for ragged rows: each takes the packed tokens with the rows' ends. Nothing is
gathered, padded or masked. Query, key and value are views of the fused projection.

The operators are those behind torch's `scaled_dot_product_attention`. They are private in name, and their schemas are
the same from torch 2.5 on (tests/unit/test_ragged_attention.py). A processor without them takes the padded way of
attention.py: a CPU, a card that is too old, or a size of heads that they do not have.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Names of kernels: none, FlashAttention's (float16, bfloat16), or the memory-efficient one (float32, and older cards).
# TorchScript knows no constants of modules, so its functions spell them out.
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
    """The kernel that this device has in place of the usual one. `heads` [1, heads, tokens, head_size]: of the dtype
    and device of the computation. Its values do not count, and nothing waits for the device.
    """
    choice = torch._fused_sdp_choice(heads, heads, heads)
    if choice == 0:  # plain products
        return ""
    # 2 is the memory-efficient kernel. FlashAttention's runs on all cards that get another one for 16 bits.
    return "efficient" if choice == 2 else kernel


def attend_ragged(query_key_value: Tensor, row_ends: Tensor, longest: int, heads: int, kernel: str) -> Tensor:
    """`query_key_value` [tokens, 3 * hidden]. `row_ends` [rows + 1] int32: 0, and the tokens up to each row's end.
    `longest`: the tokens of the longest row. Returns the context, [tokens, hidden].
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
