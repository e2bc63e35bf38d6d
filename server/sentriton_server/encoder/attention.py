"""Attention within the rows of one token block. This is the only part of the encoder that pads rows.

The token embeddings of a row must not depend on the other rows of the batch. The shape of a kernel's input determines
the order of its additions, and the elements that its scalar remainder loop computes. At int8, a difference in the last
bit changes the rounding of some activations. The following layers amplify this to the size of the quantization error.
On a CPU, the padded length of a row therefore depends only on the length of the row. Each kernel call computes all rows
of one padded length.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from sentriton_server.encoder.ragged import attend_ragged

# On a CPU, torch's fused kernel computes small products one by one and gains little from a second thread. `bmm`
# computes them together. Up to this number of tokens per row it takes half the time, since the scores fit the caches.
MAX_BMM_TOKENS = 128
# Rows for `bmm` are padded to a multiple of this. A smaller multiple splits a batch into more groups with more kernel
# calls. A larger one costs more in padding than it saves in calls.
PADDING_MULTIPLE_TOKENS = 8


class Layout(NamedTuple):
    """The arrangement of a block's tokens for attention, shared by all layers.

    A token's query, key and value, [3, heads, head_size], are 3 * heads pieces of [head_size]. `groups` are pairs of
    (rows, padded length). Each group has rows * heads * padded length places, in this order.

    `to_heads` [3 * places] int64 maps each place of [3, places] to a piece. Padding repeats the row's last token.
    `bias` [places] float32 is -inf at padding, else 0. `from_heads` [(tokens + filling) * heads] int64 maps each token
    and head to the place of its context; filling rows map to any place.

    `bmm` computes groups with a padded length of up to `max_bmm_tokens`. torch's fused kernel computes the others, with
    the bias if `masked`.

    A GPU's `kernel` for ragged rows only needs `row_ends` [rows + 1] int32 and the length of the `longest` row (see
    ragged.py).
    """

    to_heads: Tensor
    from_heads: Tensor
    bias: Tensor
    groups: list[tuple[int, int]]
    heads: int
    max_bmm_tokens: int
    masked: bool
    row_ends: Tensor
    longest: int
    kernel: str


def lay_out_ragged(row_ends: Tensor, longest: int, heads: int, kernel: str) -> Layout:
    """The layout for a kernel for ragged rows."""
    nothing = row_ends[:0]
    no_groups: list[tuple[int, int]] = []
    return Layout(nothing, nothing, nothing, no_groups, heads, 0, False, row_ends, longest, kernel)


def lay_out(
    lengths: list[int],
    filling: int,
    heads: int,
    device: torch.device,
    max_bmm_tokens: int = MAX_BMM_TOKENS,
    padding_multiple: int = PADDING_MULTIPLE_TOKENS,
) -> Layout:
    """The layout for padded rows. `lengths`: tokens of each row, longest first. `filling`: empty rows after these."""
    on_gpu = device.type == "cuda"
    groups: list[tuple[int, int]] = []
    padded: list[int] = []
    for length in lengths:
        if on_gpu:
            # On a GPU, a few large kernels are faster in spite of the padding.
            padded_length = lengths[0]
        elif length <= max_bmm_tokens:
            padded_length = -(-length // padding_multiple) * padding_multiple
        else:
            # A block has only a few long rows, and they rarely share a padded length.
            padded_length = length
        padded.append(padded_length)
        if len(groups) > 0 and groups[-1][1] == padded_length:
            groups[-1] = (groups[-1][0] + 1, padded_length)
        else:
            groups.append((1, padded_length))
    tokens, places = sum(lengths), sum(padded)

    figures = torch.tensor([lengths, padded], device=device)
    row_lengths, row_padded = figures.unbind()
    first_token, first_place = (figures.cumsum(1) - figures).unbind()
    row = torch.repeat_interleave(row_padded, output_size=places)
    of_rows = torch.stack([first_place + row_lengths - 1, first_token - first_place])
    last_place, shift = of_rows.index_select(1, row).unbind()
    place = torch.arange(places, device=device)
    query = (torch.minimum(place, last_place) + shift) * (3 * heads)
    bias = torch.zeros([places], device=device).masked_fill_(place > last_place, -float("inf"))
    pieces = torch.arange(3 * heads, device=device).view([3, 1, heads, 1])
    to_heads: list[Tensor] = []
    bias_of_heads: list[Tensor] = []
    start = 0
    for rows, length in groups:
        end = start + rows * length
        to_heads.append((query[start:end].view([rows, 1, length]) + pieces).view([3, -1]))
        bias_of_heads.append(bias[start:end].view([rows, 1, length]).expand([rows, heads, length]).flatten())
        start = end

    row = torch.repeat_interleave(row_lengths, output_size=tokens)
    of_rows = torch.stack([first_place * heads - first_token, row_padded])
    shift, stride = of_rows.index_select(1, row).unsqueeze(2).unbind()
    token = torch.arange(tokens, device=device).unsqueeze(1)
    from_heads = torch.addcmul(token + shift, stride, torch.arange(heads, device=device)).flatten()
    return Layout(
        torch.cat(to_heads, dim=1).flatten(),
        F.pad(from_heads, [0, filling * heads]),
        torch.cat(bias_of_heads),
        groups,
        heads,
        0 if on_gpu else max_bmm_tokens,
        on_gpu and tokens < places,
        bias[:0],
        0,
        "",
    )


class Attention(nn.Module):
    """Scaled dot-product attention of several heads, without the projections around it."""

    def forward(self, query_key_value: Tensor, layout: Layout) -> Tensor:
        """Compute the context [tokens and filling, hidden] from `query_key_value` [tokens and filling, 3 * hidden]."""
        heads = layout.heads
        if layout.kernel != "":
            return attend_ragged(query_key_value, layout.row_ends, layout.longest, heads, layout.kernel)
        head_size = query_key_value.size(1) // (3 * heads)
        pieces = query_key_value.reshape([-1, head_size]).index_select(0, layout.to_heads).view([3, -1, head_size])
        bias = layout.bias.to(query_key_value.dtype)
        contexts: list[Tensor] = []
        start = 0
        for rows, length in layout.groups:
            end = start + rows * heads * length
            group, group_bias = pieces[:, start:end], bias[start:end]
            start = end
            if length <= layout.max_bmm_tokens:
                query, key, value = group.view([3, rows * heads, length, head_size]).unbind()
                # Keys before queries: torch does not vectorize softmax over a last dimension below 16. It is four times
                # slower than over the dimension before.
                scores = torch.baddbmm(
                    group_bias.view([-1, length, 1]), key, query.transpose(1, 2), alpha=head_size**-0.5
                )
                weights = scores.softmax(1, dtype=torch.float32).to(value.dtype)
                context = torch.bmm(weights.transpose(1, 2), value)
            else:
                query, key, value = group.view([3, rows, heads, length, head_size]).unbind()
                mask = group_bias.view([rows, heads, 1, length]) if layout.masked else None
                context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            contexts.append(context.reshape([-1, head_size]))
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        return context.index_select(0, layout.from_heads).view([-1, heads * head_size])
