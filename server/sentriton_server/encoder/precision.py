"""The precisions: how each changes the packed encoder, and the allowed deviation of its vectors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import nn

from sentriton_server.encoder.attention import Attention
from sentriton_server.encoder.linear import Int8Linear, OrderedLinear
from sentriton_server.encoder.packed import GPU_BLOCK_TOKENS, PackedEncoder, Projection
from sentriton_server.encoder.positions import NotRotary
from sentriton_server.encoder.ragged import PADDED, ragged_kernel


@dataclass(frozen=True)
class Precision:
    """One compute precision: its devices, the encoder's output, and the bound of the parity report."""

    name: str
    devices: tuple[str, ...]
    output_dtype: str  # Triton's name of the token embeddings' dtype
    min_cosine: float  # of every sentence, truncated or not, against sentence-transformers in fp32
    bytes_per_weight: float


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", ("cpu", "gpu"), "TYPE_FP32", 0.999999, 4),
        Precision("bf16", ("cpu", "gpu"), "TYPE_FP32", 0.9995, 2),
        Precision("int8", ("cpu",), "TYPE_FP32", 0.99, 1),
        Precision("fp16", ("gpu",), "TYPE_FP16", 0.9999, 2),
    )
}


def precisions_of(device: str) -> list[str]:
    """The names of the precisions that a device, cpu or gpu, has."""
    return [precision.name for precision in PRECISIONS.values() if device in precision.devices]


def compile_encoder(
    encoder: PackedEncoder,
    precision: Precision,
    device: str = "cpu",
    *,
    operators: bool = False,
    in_bf16: Collection[str] = (),
) -> torch.jit.ScriptModule:
    """Script the encoder at a precision for a device, cpu or gpu. The module is changed, so do not use it afterwards.

    `operators`: compile for Sentriton's operators on a CPU. They must be loaded now and in each process that loads the
    module. `in_bf16`: names of linear layers that stay in bfloat16 at int8.
    """
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision.name, torch.float32)
    encoder.output_dtype = {"TYPE_FP32": torch.float32, "TYPE_FP16": torch.float16}[precision.output_dtype]
    if device == "gpu":
        encoder.block_tokens = GPU_BLOCK_TOKENS
        encoder.block_multiple = 1
        encoder.kernel = _ragged_kernel_of(encoder, dtype)
        encoder = _cast(encoder, dtype)
    elif precision.name == "int8":
        encoder.mixed = mixed = bool(in_bf16)
        _replace_linears(
            encoder,
            lambda name, linear: (
                OrderedLinear(linear, torch.bfloat16, operators, mixed)
                if name in in_bf16
                else Int8Linear(linear, operators, mixed)
            ),
        )
    elif precision.name == "fp16":
        encoder = _cast(encoder, dtype)
    else:
        _replace_linears(encoder, lambda _, linear: OrderedLinear(linear, dtype, operators))
    encoder.operators = operators
    encoder.weights = {"int8": torch.int8, "bf16": torch.bfloat16}.get(precision.name, torch.float32)
    # Not frozen: ordered weights would become constants, which torch cannot save.
    return torch.jit.script(encoder.eval())


def has_kernel(encoder: PackedEncoder) -> bool:
    """Whether a compiled encoder uses a GPU's kernel for ragged rows, which needs no padding."""
    return encoder.kernel != PADDED


def _ragged_kernel_of(encoder: PackedEncoder, dtype: torch.dtype) -> str:
    """The kernel for ragged rows that suits the attention of all layers, if any."""
    alike = sum(isinstance(module, Attention) for module in encoder.modules())
    if alike < len(encoder.layers):
        return PADDED
    return ragged_kernel(dtype, encoder.hidden_size // encoder.num_heads)


def _cast(encoder: PackedEncoder, dtype: torch.dtype) -> PackedEncoder:
    """The encoder with its weights in `dtype`."""
    # Rotary frequencies stay in float32: an angle is place times frequency, so the rounding error grows with the place.
    rotary = encoder.rotary
    encoder.rotary = NotRotary()
    encoder = encoder.to(dtype)
    encoder.rotary = rotary
    return encoder


def _replace_linears(module: nn.Module, replacement: Callable[[str, nn.Linear], nn.Module], prefix: str = "") -> None:
    """Replace the linear layers within a module. `replacement` gets the name of each, as in `named_modules`."""
    for name, child in module.named_children():
        if isinstance(child, Projection):  # outside the layers, and computed once for each token
            setattr(child, "linear", OrderedLinear(child.linear, torch.float32))  # noqa: B010 - another class
        elif isinstance(child, nn.Linear):
            setattr(module, name, replacement(f"{prefix}{name}", child))
        else:
            _replace_linears(child, replacement, f"{prefix}{name}.")
