"""Attention within the rows of a step, by products and by torch's fused kernel, against the formula row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sentriton_server.encoder.attention import LONGEST_BY_PRODUCTS, Attention, lay_out

HEADS, HEAD_SIZE, FILLING = 3, 4, 2


def attend(row: Tensor) -> Tensor:
    """softmax(Q K' / sqrt(d)) V of each head (Vaswani et al. 2017, section 3.2.1); `row` [tokens, 3 * heads * d]."""
    query, key, value = row.view([-1, 3, HEADS, HEAD_SIZE]).permute([1, 2, 0, 3])
    weights = (query @ key.transpose(1, 2) / HEAD_SIZE**0.5).softmax(-1)
    return (weights @ value).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("longest_by_products", [0, LONGEST_BY_PRODUCTS], ids=["fused", "products"])
@pytest.mark.parametrize("lengths", [[5, 3, 1], [4, 4], [1], [7]], ids=str)
def test_each_row_attends_to_itself_alone(lengths: list[int], longest_by_products: int) -> None:
    torch.manual_seed(0)
    query_key_value = torch.randn([sum(lengths) + FILLING, 3 * HEADS * HEAD_SIZE])
    longest = max(lengths)
    slots = torch.cat([row * longest + torch.arange(length) for row, length in enumerate(lengths)])
    attention = Attention()
    attention.longest_by_products = longest_by_products
    context = torch.jit.script(attention)(query_key_value, lay_out(slots, len(lengths), longest, FILLING, HEADS))
    assert context.shape == (sum(lengths) + FILLING, HEADS * HEAD_SIZE)
    rows = query_key_value[: sum(lengths)].split(lengths)
    torch.testing.assert_close(context[: sum(lengths)], torch.cat([attend(row) for row in rows]))


def test_rows_around_the_change_from_products_to_the_fused_kernel() -> None:
    torch.manual_seed(0)
    for length in (LONGEST_BY_PRODUCTS, LONGEST_BY_PRODUCTS + 1):
        query_key_value = torch.randn([length, 3 * HEADS * HEAD_SIZE])
        context = Attention()(query_key_value, lay_out(torch.arange(length), 1, length, 0, HEADS))
        torch.testing.assert_close(context, attend(query_key_value))
