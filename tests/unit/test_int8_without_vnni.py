"""8-bit linear layers without VNNI, as on an older processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentriton_server.encoder.linear import Int8Linear, within_16_bits

INPUTS, OUTPUTS, TOKENS = 512, 64, 16
# Computes by a layer that this process saved, and saves one of its own.
PROGRAM = """
import sys, torch
from sentriton_server.encoder.linear import Int8Linear
saved, linear, hidden, found, own = sys.argv[1:]
torch.save([torch.jit.load(saved)(numbers) for numbers in torch.load(hidden)], found)
torch.jit.script(Int8Linear(torch.load(linear, weights_only=False))).save(own)
"""


def linear(weight: Tensor) -> nn.Linear:
    """A linear layer with these weights [outputs, inputs]."""
    layer = nn.Linear(weight.size(1), weight.size(0)).requires_grad_(False)
    layer.weight.copy_(weight)
    return layer


def compute_without_vnni(layer: nn.Linear, mixed: bool, hidden: list[Tensor], folder: Path) -> list[Tensor]:
    """The outputs for each of `hidden`. Leaves the layer that this process saved, and the other's own, in `folder`."""
    files = [folder / name for name in ("saved.pt", "linear.pt", "hidden.pt", "found.pt", "own.pt")]
    torch.jit.script(Int8Linear(layer, mixed=mixed)).save(str(files[0]))
    torch.save(layer, files[1])
    torch.save(hidden, files[2])
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, files)], env=environment, check=True, timeout=60)
    found: list[Tensor] = torch.load(files[3])
    return found


@pytest.mark.parametrize("mixed", [False, True])
def test_the_largest_sums_are_whole(mixed: bool, tmp_path: Path) -> None:
    signs = torch.tensor([1.0, -1.0]).repeat(OUTPUTS // 2)
    layer = linear(signs[:, None].expand(OUTPUTS, INPUTS))
    hidden = torch.ones(TOKENS, INPUTS)
    hidden[:, 0] = 0  # becomes 0, and the ones become 255
    (found,) = compute_without_vnni(layer, mixed, [hidden], tmp_path)
    torch.testing.assert_close(found, layer(hidden), rtol=1e-3, atol=1e-2)


def test_weights_lose_one_bit_and_the_file_none(tmp_path: Path) -> None:
    torch.manual_seed(5)
    layer = linear(torch.randn(OUTPUTS, INPUTS))
    hidden = [torch.randn(TOKENS, INPUTS) + mean for mean in (0.0, 3.0)]
    found = compute_without_vnni(layer, False, hidden, tmp_path)
    saved: Any = torch.jit.load(tmp_path / "saved.pt")
    own: Any = torch.jit.load(tmp_path / "own.pt")
    for numbers, without in zip(hidden, found, strict=True):
        assert torch.cosine_similarity(without, layer(numbers)).min() > 0.9995
        assert torch.equal(own(numbers), saved(numbers))


def test_operators_shrink_the_outputs_whose_sums_exceed_16_bits() -> None:
    torch.manual_seed(6)
    weight = torch.randint(-127, 128, [OUTPUTS, INPUTS]).to(torch.int8)
    weight[0, ::2], weight[0, 1::2] = 127, 1  # the largest sum that fits
    weight[1, ::2], weight[1, 1::2] = 127, -127  # reduce each other's sum
    weight[2] = 127
    weight[3] = -127
    weight[4] = 0
    factors = within_16_bits(weight)
    assert factors.flatten()[[0, 1, 4]].tolist() == [1, 1, 1]
    assert (factors[5:] < 1).all()
    assert (factors >= 0.5).all()
    pairs = (weight * factors).round().long().view(OUTPUTS, -1, 2)
    assert pairs.clamp(min=0).sum(2).max() * 255 <= 32767
    assert pairs.clamp(max=0).sum(2).min() * 255 >= -32768
