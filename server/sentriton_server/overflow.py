"""Finds out whether an encoder's numbers fit float16 (at most 65,504), by computing difficult texts in float32.

An encoder that was trained in float32 or bfloat16 may exceed this limit. In fp16 it then gives infinities and NaN for
some texts. The activations are largest for long texts, and for repeated and rare tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sentriton_server.encoder import PackedEncoder

LARGEST_FP16 = 65_504.0
# Other texts may have larger numbers than the checked texts.
_MARGIN = 2.0


def largest_magnitude(encoder: PackedEncoder, rows: list[list[int]]) -> float:
    """The largest absolute value among the encoder's weights, and among the inputs and outputs of its linear layers and
    norms for `rows` of token ids. `encoder` comes from `read_encoder`, in float32.
    """
    found = [max(float(weight.detach().abs().max()) for weight in encoder.parameters())]

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        found.append(max(float(inputs[0].abs().max()), float(output.abs().max())))

    watched = [module for module in encoder.modules() if isinstance(module, (nn.Linear, nn.LayerNorm))]
    handles = [module.register_forward_hook(note) for module in watched]
    try:
        with torch.inference_mode():
            for row in rows:
                ids = torch.tensor(row, dtype=torch.int32)[:, None]
                encoder(ids, torch.zeros_like(ids), torch.full_like(ids, encoder.key, dtype=torch.int64))
    finally:
        for handle in handles:
            handle.remove()
    return max(found)


def overflows(magnitude: float, *, certainly: bool) -> bool:
    """Whether this magnitude exceeds float16 or, without `certainly`, may exceed it for other texts."""
    return not magnitude * (1.0 if certainly else _MARGIN) <= LARGEST_FP16
