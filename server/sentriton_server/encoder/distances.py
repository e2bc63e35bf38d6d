"""Attention whose scores depend on how far a key is from its query: a bias for each distance, or none beyond a window.

Rows longer than `Layout.max_bmm_tokens` are taken a slice of queries at a time, with the keys that the slice can see.
So memory grows with the length of a row and not with its square. With a window, time does so as well.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from sentriton_server.encoder.attention import Attention, Layout

# A slice of queries: with fewer, keys are read more often; with more, scores leave the caches.
SLICE_TOKENS = 256


def by_distance(of_distances: Tensor, queries: int, keys: int) -> Tensor:
    """[heads, queries, keys] of `of_distances` [heads, queries + keys - 1]. Its first value is that of the last query
    and the first key, its last that of the first query and the last key.
    """
    # Each window of as many distances as keys is the row of one query, the last query's first.
    return of_distances.unfold(1, keys, 1).flip(1)


class DistanceBias(nn.Module):
    """MPNet's (and T5's) relative attention bias: one number for each head and distance, the same in all layers."""

    def forward(self, distances: Tensor, distance_bias: Tensor) -> Tensor:
        """`distances` int64 [n]: key minus query; `distance_bias` [heads, 2 * far + 1]: of the distances -far to far,
        the outer ones of all beyond. Returns [heads, n].
        """
        far = distance_bias.size(1) // 2
        return distance_bias.index_select(1, distances.clamp(-far, far) + far)


class LocalWindow(nn.Module):
    """Local attention: no key is farther than `width` from its query."""

    __constants__: ClassVar = ["width"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, distances: Tensor, distance_bias: Tensor) -> Tensor:
        """As `DistanceBias`: 0 or -inf, [1, n], the same for all heads."""
        outside = (distances.abs() > self.width).unsqueeze(0)
        return torch.zeros([1, distances.size(0)], device=distances.device).masked_fill_(outside, -float("inf"))


class AttentionAnywhere(nn.Module):
    """`Attention` where distance does not count, called as `AttentionByDistance`."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()

    def forward(self, query_key_value: Tensor, layout: Layout, distance_bias: Tensor) -> Tensor:
        context: Tensor = self.attention(query_key_value, layout)
        return context


class AttentionByDistance(nn.Module):
    """As `Attention`, with scores that `bias` changes by distance. `reach`: the largest distance of a key that counts.
    In rows of up to `even_tokens`, no distance changes them.
    """

    __constants__: ClassVar = ["reach", "even_tokens", "slice_tokens"]

    def __init__(self, bias: nn.Module, reach: int, even_tokens: int) -> None:
        super().__init__()
        self.bias = bias
        self.reach = reach
        self.even_tokens = even_tokens
        self.slice_tokens = SLICE_TOKENS

    def forward(self, query_key_value: Tensor, layout: Layout, distance_bias: Tensor) -> Tensor:
        """`query_key_value` [tokens and filling, 3 * hidden]; returns the context, [tokens and filling, hidden]."""
        heads = layout.heads
        head_size = query_key_value.size(1) // (3 * heads)
        pieces = query_key_value.reshape([-1, head_size]).index_select(0, layout.to_heads).view([3, -1, head_size])
        contexts: list[Tensor] = []
        start = 0
        for rows, length in layout.groups:
            end = start + rows * heads * length
            group = pieces[:, start:end].view([3, rows, heads, length, head_size])
            ends = layout.bias[start:end].view([rows, heads, 1, length])[:, :1]
            start = end
            whole = length <= layout.max_bmm_tokens
            context = self.whole(group, ends, distance_bias) if whole else self.sliced(group, ends, distance_bias)
            contexts.append(context.reshape([-1, head_size]))
        return torch.cat(contexts).index_select(0, layout.from_heads).view([-1, heads * head_size])

    def scores_bias(self, first_query: int, end_query: int, first_key: int, end_key: int, like: Tensor) -> Tensor:
        """[heads or 1, queries, keys]"""
        distances = torch.arange(first_key - end_query + 1, end_key - first_query, device=like.device)
        return by_distance(self.bias(distances, like), end_query - first_query, end_key - first_key)

    def whole(self, group: Tensor, ends: Tensor, distance_bias: Tensor) -> Tensor:
        """All queries of short rows at once, by products: see `Attention`."""
        rows, heads, length, head_size = group.size(1), group.size(2), group.size(3), group.size(4)
        query, key, value = group.view([3, rows * heads, length, head_size]).unbind()
        bias = ends.transpose(2, 3)
        if length > self.even_tokens:
            bias = bias + self.scores_bias(0, length, 0, length, distance_bias).transpose(1, 2)
        bias = bias.expand([rows, heads, length, bias.size(3)]).reshape([rows * heads, length, -1]).to(key.dtype)
        # Keys before queries, as in `Attention`.
        scores = torch.baddbmm(bias, key, query.transpose(1, 2), alpha=head_size**-0.5)
        weights = scores.softmax(1, dtype=torch.float32).to(value.dtype)
        return torch.bmm(weights.transpose(1, 2), value)

    def sliced(self, group: Tensor, ends: Tensor, distance_bias: Tensor) -> Tensor:
        """[rows, heads, length, head_size], a slice of queries after the other, by torch's fused kernel."""
        length = group.size(3)
        query, key, value = group.unbind()
        slices: list[Tensor] = []
        for first in range(0, length, self.slice_tokens):
            end = min(first + self.slice_tokens, length)
            first_key, end_key = max(0, first - self.reach), min(length, end + self.reach)
            mask = self.scores_bias(first, end, first_key, end_key, distance_bias) + ends[..., first_key:end_key]
            slices.append(
                F.scaled_dot_product_attention(
                    query[:, :, first:end],
                    key[:, :, first_key:end_key],
                    value[:, :, first_key:end_key],
                    attn_mask=mask.to(query.dtype),
                )
            )
        return torch.cat(slices, dim=2)
