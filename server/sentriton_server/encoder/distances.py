"""Attention with scores that depend on the distance between key and query, by a bias or a window.

Rows longer than `Layout.max_bmm_tokens` are computed in slices of queries, each with the keys in its reach. So memory
grows linearly with the length of a row. With a window, time does so as well.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from sentriton_server.encoder.attention import Attention, Layout

# Queries of a slice. Smaller slices read the keys more often; the scores of larger ones exceed the caches.
SLICE_TOKENS = 256


def by_distance(of_distances: Tensor, queries: int, keys: int) -> Tensor:
    """Expand `of_distances` [heads, queries + keys - 1] to [heads, queries, keys]. Its first value belongs to the last
    query and the first key, its last value to the first query and the last key.
    """
    # A window of as many distances as keys is the row of one query. The first window belongs to the last query.
    return of_distances.unfold(1, keys, 1).flip(1)


class DistanceBias(nn.Module):
    """The relative attention bias of MPNet and T5: one number for each head and distance, shared by all layers."""

    def forward(self, distances: Tensor, distance_bias: Tensor) -> Tensor:
        """The bias [heads, n] of `distances` int64 [n], each key minus query. `distance_bias` [heads, 2 * far + 1] is
        for the distances from -far to far; its outer values also apply beyond.
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
        """The bias [1, n], 0 or -inf, of `distances` int64 [n]."""
        outside = (distances.abs() > self.width).unsqueeze(0)
        return torch.zeros([1, distances.size(0)], device=distances.device).masked_fill_(outside, -float("inf"))


class AttentionAnywhere(nn.Module):
    """`Attention` without a bias, with the signature of `AttentionByDistance`."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()

    def forward(self, query_key_value: Tensor, layout: Layout, distance_bias: Tensor) -> Tensor:
        context: Tensor = self.attention(query_key_value, layout)
        return context


class AttentionByDistance(nn.Module):
    """`Attention` with a `bias` of the scores by distance. Keys beyond the distance `reach` have no effect. Rows of up
    to `even_tokens` tokens need no bias.
    """

    __constants__: ClassVar = ["reach", "even_tokens", "slice_tokens"]

    def __init__(self, bias: nn.Module, reach: int, even_tokens: int) -> None:
        super().__init__()
        self.bias = bias
        self.reach = reach
        self.even_tokens = even_tokens
        self.slice_tokens = SLICE_TOKENS

    def forward(self, query_key_value: Tensor, layout: Layout, distance_bias: Tensor) -> Tensor:
        """Compute the context [tokens and filling, hidden] from `query_key_value` [tokens and filling, 3 * hidden]."""
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
        """The bias of the scores, [heads or 1, queries, keys]."""
        distances = torch.arange(first_key - end_query + 1, end_key - first_query, device=like.device)
        return by_distance(self.bias(distances, like), end_query - first_query, end_key - first_key)

    def whole(self, group: Tensor, ends: Tensor, distance_bias: Tensor) -> Tensor:
        """Compute all queries of short rows together by `bmm`, as `Attention` does."""
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
        """Compute [rows, heads, length, head_size] by torch's fused kernel, in slices of queries."""
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
