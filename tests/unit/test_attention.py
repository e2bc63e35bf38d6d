"""Attention within the rows of a block, by `bmm` and by torch's fused kernel, against the formula row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sentriton_server.encoder.attention import MAX_BMM_TOKENS, Attention, lay_out

HEADS, HEAD_SIZE, FILLING = 3, 4, 2


def attend(row: Tensor) -> Tensor:
    """softmax(Q K' / sqrt(d)) V of each head (Vaswani et al. 2017, section 3.2.1); `row` [tokens, 3 * heads * d]."""
    query, key, value = row.view([-1, 3, HEADS, HEAD_SIZE]).permute([1, 2, 0, 3])
    weights = (query @ key.transpose(1, 2) / HEAD_SIZE**0.5).softmax(-1)
    return (weights @ value).transpose(0, 1).flatten(1)


def context_of(query_key_value: Tensor, lengths: list[int], heads: int = HEADS, **options: int) -> Tensor:
    """Of rows of these lengths, longest first, one behind the other; filled up."""
    layout = lay_out(lengths, FILLING, heads, query_key_value.device, **options)
    filled = torch.nn.functional.pad(query_key_value, [0, 0, 0, FILLING])
    context = torch.jit.script(Attention())(filled, layout)
    assert context.shape == (sum(lengths) + FILLING, query_key_value.size(1) // 3)
    return context[: sum(lengths)]


@pytest.mark.parametrize("max_bmm_tokens", [0, 8, MAX_BMM_TOKENS], ids=["fused", "both", "products"])
@pytest.mark.parametrize("lengths", [[5, 3, 1], [4, 4], [1], [7], [20, 17, 16, 9, 8, 8, 7, 1]], ids=str)
def test_each_row_attends_to_itself_alone(lengths: list[int], max_bmm_tokens: int) -> None:
    torch.manual_seed(0)
    query_key_value = torch.randn([sum(lengths), 3 * HEADS * HEAD_SIZE])
    expected = torch.cat([attend(row) for row in query_key_value.split(lengths)])
    torch.testing.assert_close(context_of(query_key_value, lengths, max_bmm_tokens=max_bmm_tokens), expected)


def test_rows_around_the_change_from_products_to_the_fused_kernel() -> None:
    torch.manual_seed(0)
    for length in (MAX_BMM_TOKENS, MAX_BMM_TOKENS + 1):
        query_key_value = torch.randn([length, 3 * HEADS * HEAD_SIZE])
        torch.testing.assert_close(context_of(query_key_value, [length]), attend(query_key_value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", [[131, 131, 130, 97, 96, 50, 49], [31, 24, 24, 23, 18, 17, 9, 4, 3, 2, 1]], ids=str)
def test_a_row_alone_has_the_context_that_it_has_in_company_bit_for_bit(lengths: list[int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    heads, head_size = 12, 32
    query_key_value = torch.randn([sum(lengths), 3 * heads * head_size]).to(dtype)
    together = context_of(query_key_value, lengths, heads).split(lengths)
    for row, context in zip(query_key_value.split(lengths), together, strict=True):
        assert torch.equal(context, context_of(row, [len(row)], heads))
