"""The activation functions of feed-forward layers, by their names in transformers."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

# transformers has several names for the same function. Some of them differ only in the rounding of a constant.
_FUNCTIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_accurate": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "mish": "mish",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
ACTIVATION_FUNCTIONS = tuple(_FUNCTIONS)
OPERATOR_ACTIVATIONS = tuple(name for name, function in _FUNCTIONS.items() if function in ("gelu", "gelu_new", "relu"))


class Activation(nn.Module):
    """One activation function. `function` is its name, also for Sentriton's operators."""

    __constants__: ClassVar = ["function"]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = _FUNCTIONS[name]

    def forward(self, inner: Tensor) -> Tensor:
        if self.function == "gelu":
            return F.gelu(inner)
        if self.function == "gelu_new":
            return F.gelu(inner, approximate="tanh")
        if self.function == "relu":
            return F.relu(inner)
        if self.function == "silu":
            return F.silu(inner)
        if self.function == "mish":
            return F.mish(inner)
        return inner * torch.sigmoid(1.702 * inner)


class GatedActivation(nn.Module):
    """Multiplies the activation of the first half of the outputs by the second half (GLU variants, Shazeer 2020)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.activation = Activation(name)
        self.function = self.activation.function

    def forward(self, inner: Tensor) -> Tensor:
        first, second = inner.chunk(2, 1)
        gated: Tensor = self.activation(first) * second
        return gated
