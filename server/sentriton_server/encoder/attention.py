"""Attention within the rows of one step, padded to the longest of them: nowhere else does padding enter the encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

# On a CPU, torch's fused kernel does many small products one by one, which two threads do hardly faster than one; `bmm`
# takes them all at once: half its time up to so many tokens a row, while scores still fit the caches.
LONGEST_BY_PRODUCTS = 128


class Layout(NamedTuple):
    """Where the tokens of a step stand in attention, the same for all its layers.

    A token's query, key and value, [3, heads, head_size], are so many pieces of [head_size]. `to_heads` [3 * rows *
    heads * longest] int64 says which piece stands at each place of [3, rows, heads, longest]; behind a row's end it is
    any piece, and `bias` [rows, heads, 1, longest] float32 is -inf there, else 0. `from_heads` [(tokens + filling) *
    heads] int64 says at which place of [rows, heads, longest] a token's context is; a filling row gets any.
    """

    to_heads: Tensor
    from_heads: Tensor
    bias: Tensor
    padded: bool


def lay_out(slots: Tensor, rows: int, longest: int, filling: int, heads: int) -> Layout:
    """`slots` [tokens] int64: each token's place in [rows * longest]; `filling`: rows of no token behind the tokens."""
    device = slots.device
    tokens = slots.size(0)
    head = torch.arange(heads, device=device)
    token = torch.full([rows * longest], -1, dtype=torch.int64, device=device)
    token.index_copy_(0, slots, torch.arange(tokens, device=device))
    token = token.view([rows, 1, longest])
    part = torch.arange(3, device=device).view([3, 1, 1, 1])
    to_heads = (token.clamp(min=0) * 3 + part) * heads + head.view([heads, 1])
    bias = torch.zeros([rows, heads, 1, longest], device=device)
    bias = bias.masked_fill_(token.unsqueeze(1) < 0, -float("inf"))
    slots = F.pad(slots, [0, filling])
    row = torch.div(slots, longest, rounding_mode="floor")
    from_heads = (row.unsqueeze(1) * heads + head) * longest + (slots % longest).unsqueeze(1)
    return Layout(to_heads.flatten(), from_heads.flatten(), bias, tokens < rows * longest)


class Attention(nn.Module):
    """Scaled dot-product attention of several heads, without the projections around it."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_by_products = LONGEST_BY_PRODUCTS

    def forward(self, query_key_value: Tensor, layout: Layout) -> Tensor:
        """`query_key_value` [tokens and filling, 3 * hidden]; returns the context, [tokens and filling, hidden]."""
        rows, heads, _, longest = layout.bias.shape
        head_size = query_key_value.size(1) // (3 * heads)
        pieces = query_key_value.reshape([-1, head_size]).index_select(0, layout.to_heads)
        bias = layout.bias.to(query_key_value.dtype)
        if longest <= self.longest_by_products and not query_key_value.is_cuda:
            query, key, value = pieces.view([3, rows * heads, longest, head_size]).unbind()
            # Keys before queries: torch's softmax over a last dimension of less than 16 is not vectorized, four times
            # slower than over the one before.
            scores = torch.baddbmm(bias.view([-1, longest, 1]), key, query.transpose(1, 2), alpha=head_size**-0.5)
            weights = scores.softmax(1, dtype=torch.float32).to(value.dtype)
            context = torch.bmm(weights.transpose(1, 2), value)
        else:
            query, key, value = pieces.view([3, rows, heads, longest, head_size]).unbind()
            context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias if layout.padded else None)
        return context.reshape([-1, head_size]).index_select(0, layout.from_heads).view([-1, heads * head_size])
