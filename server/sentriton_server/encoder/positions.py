"""Rotary positions: queries and keys are rotated by an angle that depends on the token's place.

They are those of RoFormer (Su et al. 2021), in the layout of transformers. Element i of the first half of a head and
element i of its second half are a pair.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class TypeEmbedding(nn.Module):
    """The embedding of token type 0, which all tokens share. It takes the place of a position table."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size))

    def forward(self, positions: Tensor) -> Tensor:
        return self.weight


class Rotary(nn.Module):
    """The rotations of a block's tokens. `frequencies` [sets, head_size / 2]; `scales` [sets] of cosine and sine."""

    def __init__(self, sets: int, head_size: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.empty(sets, head_size // 2))
        self.scales = nn.Parameter(torch.empty(sets))

    def forward(self, positions: Tensor, filling: int) -> Tensor:
        """Compute cosines and sines, float32 [sets, 2, tokens and filling, 1, head_size / 2]. `positions` [tokens] are
        the tokens' places in their rows; `filling` is the number of empty rows after them.
        """
        places = nn.functional.pad(positions, [0, filling]).to(torch.float32)
        angles = places.view([1, -1, 1, 1]) * self.frequencies.view([self.frequencies.size(0), 1, 1, -1])
        return torch.stack([angles.cos(), angles.sin()], dim=1) * self.scales.view([-1, 1, 1, 1, 1])


class NotRotary(nn.Module):
    """For an encoder with a table of positions."""

    def forward(self, positions: Tensor, filling: int) -> Tensor:
        return torch.empty([0])


class Rotation(nn.Module):
    """Rotates the queries and keys of one layer by one set of frequencies."""

    __constants__: ClassVar = ["number"]

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, query_key_value: Tensor, rotations: Tensor, heads: int) -> Tensor:
        """Rotate `query_key_value` [tokens and filling, 3 * hidden] by `rotations`, the output of `Rotary`."""
        tokens, width = query_key_value.size(0), query_key_value.size(1) // 3
        cosine, sine = rotations[self.number].unbind()
        # In float32 at every precision: a score depends on a small difference of angles, which are large late in a row.
        pairs = query_key_value[:, : 2 * width].float().view([tokens, 2 * heads, 2, width // heads // 2])
        first, second = pairs.unbind(2)
        turned = torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=2)
        turned = turned.view([tokens, 2 * width]).to(query_key_value.dtype)
        return torch.cat([turned, query_key_value[:, 2 * width :]], dim=1)


class NoRotation(nn.Module):
    """For a layer without rotary positions."""

    def forward(self, query_key_value: Tensor, rotations: Tensor, heads: int) -> Tensor:
        return query_key_value
