"""Linear layers for the CPU, their weights in the order in which its kernels read them.

`torch.nn.functional.linear` puts a bfloat16 weight into that order in every call, and has a slower kernel than oneDNN's
for float32. An ordered weight cannot be saved, so a file holds the plain one. The process that loads it orders
it once, for oneDNN or for Sentriton's operators. The latter needs a module made for them (`operators`) and a processor
that suits them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


def operators_suit(dtype: torch.dtype, mixed: bool) -> bool:
    """Whether Sentriton's loaded operators support weights of this type on this machine. `mixed`: 8-bit weights,
    and some in bfloat16.
    """
    if mixed:
        return bool(torch.ops.sentriton.suits(torch.int8)) and bool(torch.ops.sentriton.suits(torch.bfloat16))
    return bool(torch.ops.sentriton.suits(dtype))


class OrderedLinear(nn.Module):
    """A linear layer in `dtype`, float32 or bfloat16. It casts its input to this type and returns it. `mixed`: other
    layers of the encoder have another type.

    `for_operators` are the parameters of `sentriton::layers`: ordered weight, bias, scales and row sums.
    """

    __constants__: ClassVar = ["operators", "mixed"]

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, operators: bool = False, mixed: bool = False) -> None:
        super().__init__()
        self.operators = operators
        self.mixed = mixed
        self.plain_weight = linear.weight.detach().to(dtype)
        self.bias = linear.bias.detach().to(dtype)
        self.prepare(self.plain_weight)

    def prepare(self, weight: Tensor) -> None:
        self.weight = self.order(weight)
        self.for_operators = [self.weight, self.bias.to(torch.float32), torch.empty([0]), torch.empty([0])]

    def order(self, weight: Tensor) -> Tensor:
        if self.operators:  # noqa: SIM102 - TorchScript looks up all names of an `and`, also those not loaded
            if operators_suit(weight.dtype, self.mixed):
                return torch.ops.sentriton.order(weight)
        # oneDNN has no bfloat16 for processors without AVX-512; there, the plain weight serves.
        if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return weight
        return torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden.to(self.bias.dtype)
        if self.weight.is_mkldnn:
            return torch.ops.mkldnn._linear_pointwise(hidden, self.weight, self.bias, "none", [], "")
        return nn.functional.linear(hidden, self.weight, self.bias)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, Tensor, bool]:
        return self.plain_weight, self.bias, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, Tensor, bool]) -> None:
        # The plain weight is needed for saving alone, and takes as much memory as the other.
        self.plain_weight = torch.empty([0])
        self.bias = state[1]
        self.prepare(state[0])
        self.training = state[2]


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights, a scale for each output channel, and 8-bit activations, a scale and offset
    for each token.

    The kernel has one scale for all tokens of a block. A single outlier would cost every other token its precision, and
    a sentence's vector would depend on its neighbours in the batch. Hence each token is mapped onto whole numbers from
    0 to 255 first, x = low + scale * n. The linear map is undone after the product:
    W x + b = scale * (W n) + low * (W 1) + b.

    That mapping is FBGEMM's for embedding tables, the one that torch has in a single pass. With `amin`, `amax`, a
    division and two casts it took a tenth of a layer's time. It puts scale and low, four bytes each, after a token's
    numbers; the weight has zeros for these eight.
    """

    __constants__: ClassVar = ["operators", "mixed"]

    def __init__(self, linear: nn.Linear, operators: bool = False, mixed: bool = False) -> None:
        super().__init__()
        self.operators = operators
        self.mixed = mixed
        weight = linear.weight.detach().float()
        self.scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)
        self.plain_weight = (weight / self.scales[:, None]).round().to(torch.int8)
        self.bias = linear.bias.detach().float()
        self.prepare()

    def prepare(self) -> None:
        self.weight = self.order(self.plain_weight)
        self.row_sums = self.plain_weight.sum(dim=1) * self.scales
        self.no_offsets = torch.zeros_like(self.scales, dtype=torch.int64)
        self.for_operators = [self.weight, self.bias, self.scales, self.row_sums]

    def order(self, weight: Tensor) -> Tensor:
        if self.operators:  # noqa: SIM102 - TorchScript looks up all names of an `and`, also those not loaded
            if operators_suit(weight.dtype, self.mixed):
                return torch.ops.sentriton.order(weight)
        return torch.ops.onednn.qlinear_prepack(nn.functional.pad(weight, [0, 8]), None)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.mixed:
            hidden = hidden.to(torch.float32)
        numbers = torch.ops.quantized.embedding_bag_byte_prepack(hidden)
        # The same bytes as float32: TorchScript has no `view` to another dtype, and `set_` asks for none.
        scale_and_low = torch.empty([0]).set_(numbers[:, hidden.size(1) :].clone(), 0, [hidden.size(0), 2], [2, 1])
        product = torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, 0, self.weight, self.scales, self.no_offsets, None, 1.0, 0, torch.float32, "none", [], ""
        )
        torch.addcmul(self.bias, product, scale_and_low[:, :1], out=product)
        return product.addcmul_(scale_and_low[:, 1:], self.row_sums)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, Tensor, Tensor, bool]:
        return self.plain_weight, self.scales, self.bias, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, Tensor, Tensor, bool]) -> None:
        self.plain_weight, self.scales, self.bias, self.training = state
        self.prepare()
        self.plain_weight = torch.empty([0])
