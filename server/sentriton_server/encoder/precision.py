"""What each precision does to the packed encoder, and how far its vectors may lie from sentence-transformers' own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.ao.nn.quantized.modules.linear import LinearPackedParams

from sentriton_server.encoder.packed import PackedEncoder


@dataclass(frozen=True)
class Precision:
    """One compute precision: where it may run, what the encoder hands out, and the bound of the parity report."""

    name: str
    devices: tuple[str, ...]
    output_dtype: str  # Triton's name of the token embeddings' dtype
    min_cosine: float  # of every sentence against sentence-transformers in fp32
    bytes_per_weight: float


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", ("cpu", "gpu"), "TYPE_FP32", 0.999999, 4),
        Precision("bf16", ("cpu",), "TYPE_FP32", 0.9995, 2),
        Precision("int8", ("cpu",), "TYPE_FP32", 0.99, 1),
        Precision("fp16", ("gpu",), "TYPE_FP16", 0.9999, 2),
    )
}


class BFloat16Linear(nn.Module):
    """A linear layer in bfloat16: input cast, output left in bfloat16, so the residual stream around it stays
    float32.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.to(torch.bfloat16), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.to(torch.bfloat16), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden.to(torch.bfloat16), self.weight, self.bias)


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights, a scale for each output channel, and 8-bit activations, a scale and offset
    for each token.

    The kernel at hand, `quantized.linear_dynamic`, knows one scale for all tokens of a step, so a single outlier would
    cost every other token its precision, and a sentence's vector would depend on its neighbours in the batch. Hence
    each token is mapped onto [-1, 1] first, x = middle + half_range * x', which fixes that one scale, and the linear
    map is undone behind the product: W x + b = half_range * (W x') + middle * (W 1) + b.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)
        zeros = torch.zeros(weight.shape[0], dtype=torch.int64)
        with warnings.catch_warnings():
            # Deprecated without a successor that TorchScript can save; the files stay readable.
            warnings.simplefilter("ignore")
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self.product = PackedProduct(quantized)
        self.row_sums = nn.Parameter(quantized.dequantize().sum(dim=1), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.detach().float(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        low, high = torch.aminmax(hidden, dim=1, keepdim=True)
        middle = (low + high) * 0.5
        half_range = ((high - low) * 0.5).clamp(min=1e-12)
        product = self.product((hidden - middle) / half_range)
        return product.mul_(half_range).add_(self.bias).addcmul_(middle, self.row_sums)


class PackedProduct(LinearPackedParams):
    """W x' for 8-bit W, kept as the quantized engine's packed weight (the base class knows how to save that)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(torch.qint8)  # type: ignore[no-untyped-call]
        self.set_weight_bias(weight, None)

    def forward(self, hidden: Tensor) -> Tensor:
        # Full 8 bits: reduce_range is for kernels that sum in 16 bits, which oneDNN's on VNNI does not.
        return torch.ops.quantized.linear_dynamic(hidden, self._packed_params, reduce_range=False)


def compile_encoder(encoder: PackedEncoder, precision: Precision) -> torch.jit.ScriptModule:
    """Script and freeze the encoder at a precision. The given module is changed on the way: give it up."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    if precision.name == "bf16":
        _replace_linears(encoder, BFloat16Linear)
    elif precision.name == "int8":
        torch.backends.quantized.engine = "x86"
        _replace_linears(encoder, Int8Linear)
    elif precision.name == "fp16":
        encoder = encoder.half()
    return torch.jit.freeze(torch.jit.script(encoder.eval()))


def _replace_linears(module: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, replacement(child))
        else:
            _replace_linears(child, replacement)
