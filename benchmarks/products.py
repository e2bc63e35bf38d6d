"""The matrix products of an encoder's layers, by the encoder's kernels: the limit of the processor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sentriton_server.encoder.linear import OrderedLinear
from sentriton_server.encoder.packed import GPU_BLOCK_TOKENS, cpu_block_tokens

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# `torch.nn.functional.linear`, as in sentence-transformers.
FP32_BY_TORCH = "fp32 by torch"
# Enough layers for a measurable time.
_TIMED_LAYERS = {"cpu": 8, "gpu": 256}


def products(hidden: int, intermediate: int) -> list[tuple[int, int]]:
    """Input and output width of the four matrix products of a layer."""
    return [(hidden, 3 * hidden), (hidden, hidden), (hidden, intermediate), (intermediate, hidden)]


def operations_per_token(hidden: int, intermediate: int, layers: int) -> int:
    return 2 * layers * sum(wide * high for wide, high in products(hidden, intermediate))


def finish(device: str) -> None:
    """Wait until the device, cpu or gpu, has finished its work."""
    if device == "gpu":
        torch.cuda.synchronize()


def operations_of_products(hidden: int, intermediate: int, device: str) -> int:
    """The operations of a call of `layers_of_products`."""
    return _block_tokens(hidden, device) * operations_per_token(hidden, intermediate, _TIMED_LAYERS[device])


def layers_of_products(precision: str, hidden: int, intermediate: int, device: str) -> Callable[[], None]:
    """A call that computes the matrix products of some layers on a block of tokens."""
    tokens, calls = _block_tokens(hidden, device), []
    for width, height in products(hidden, intermediate):
        calls.append(_product(nn.Linear(width, height), torch.randn(tokens, width), precision, device))

    def run() -> None:
        with torch.inference_mode():
            for _ in range(_TIMED_LAYERS[device]):
                for product, numbers in calls:
                    product(numbers)
            finish(device)

    return run


def _block_tokens(hidden: int, device: str) -> int:
    return GPU_BLOCK_TOKENS if device == "gpu" else cpu_block_tokens(hidden)


def _product(
    linear: nn.Linear, tokens: Tensor, precision: str, device: str
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The product at a precision, and its operand."""
    if precision == "int8":
        return _int8_product(linear), torch.randint(0, 256, tokens.shape, dtype=torch.uint8)
    if precision == FP32_BY_TORCH:
        return linear, tokens
    dtype = DTYPES[precision]
    if device == "gpu":
        return linear.to("cuda", dtype), tokens.to("cuda", dtype)
    return OrderedLinear(linear, dtype), tokens.to(dtype)


def _int8_product(linear: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = torch.randint(-127, 128, linear.weight.shape, dtype=torch.int8)
    ordered = torch.ops.onednn.qlinear_prepack(weight, None)
    scales, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int64)

    def run(numbers: Tensor) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, 0, ordered, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return run
