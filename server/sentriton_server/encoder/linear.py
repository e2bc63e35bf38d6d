"""Linear layers for the CPU, with weights in the order that the kernels read.

`torch.nn.functional.linear` reorders a bfloat16 weight in every call, and its float32 kernel is slower than oneDNN's.
Torch cannot save an ordered weight, so the file has the plain one. The process that loads the file orders it once, for
oneDNN or for Sentriton's operators. Sentriton's operators need a module made for them (`operators`) and a suitable
processor.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


def operators_suit(dtype: torch.dtype, mixed: bool) -> bool:
    """Whether Sentriton's operators are loaded and support weights of this type on this processor. `mixed`: some
    weights are 8-bit and some bfloat16.
    """
    if mixed:
        return bool(torch.ops.sentriton.suits(torch.int8)) and bool(torch.ops.sentriton.suits(torch.bfloat16))
    return bool(torch.ops.sentriton.suits(dtype))


class OrderedLinear(nn.Module):
    """A linear layer in `dtype`, float32 or bfloat16. It casts its input to this type and returns this type. `mixed`:
    the encoder has layers of another type as well.

    oneDNN has no products of bfloat16 on processors without AVX-512. A loop of torch takes nine times as long as
    float32 there, so bfloat16 weights become float32.

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
        by_operators = self.uses_operators(weight.dtype)
        if not by_operators and weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            weight, self.bias = weight.to(torch.float32), self.bias.to(torch.float32)
        self.weight = self.order(weight, by_operators)
        self.for_operators = [self.weight, self.bias.to(torch.float32), torch.empty([0]), torch.empty([0])]

    def uses_operators(self, dtype: torch.dtype) -> bool:
        if self.operators:  # not in an `and`, of which TorchScript looks up all names, also those not loaded
            return operators_suit(dtype, self.mixed)
        return False

    def order(self, weight: Tensor, by_operators: bool) -> Tensor:
        if self.operators:  # noqa: SIM102 - as in uses_operators
            if by_operators:
                return torch.ops.sentriton.order(weight)
        return torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(hidden.to(self.bias.dtype), self.weight, self.bias, "none", [], "")

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, Tensor, bool]:
        return self.plain_weight, self.bias.to(self.plain_weight.dtype), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, Tensor, bool]) -> None:
        # Only saving needs the plain weight. It takes as much memory as the ordered one.
        self.plain_weight = torch.empty([0])
        self.bias = state[1]
        self.prepare(state[0])
        self.training = state[2]


def onednn_cuts_sums_off() -> bool:
    """Whether oneDNN adds pairs of 8-bit products in 16 bits and cuts the sums off, as on an x86 processor without
    VNNI.
    """
    width = 64
    numbers = torch.full([1, width], 255, dtype=torch.uint8)
    weight = torch.ops.onednn.qlinear_prepack(torch.full([width, width], 127, dtype=torch.int8), None)
    ones = torch.ones([width], dtype=torch.float32)
    zeros = torch.zeros([width], dtype=torch.int64)
    product = torch.ops.onednn.qlinear_pointwise(
        numbers, 1.0, 0, weight, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return bool(product[0, 0] < width * 255 * 127)


def within_16_bits(weight: Tensor) -> Tensor:
    """A factor of at most 1 for each output [outputs, 1] of 8-bit weights [outputs, inputs]. Multiply the weights by it
    and round them. Then no pair of adjacent weights (inputs 0 and 1, 2 and 3, ...) times numbers up to 255 has a sum
    beyond 16 bits.
    """
    pairs = weight.to(torch.int16).view(weight.size(0), -1, 2)
    # Products of different signs reduce each other's sum.
    sums = torch.stack([pairs.clamp(min=0).sum(2), pairs.clamp(max=0).sum(2).abs()]).amax([0, 2])
    # 128 * 255 = 32,640 fits. Rounding may add 1 to a pair's sum.
    return torch.where(sums <= 128, 1.0, 127.0 / sums.clamp(min=1))[:, None]


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights and activations. Each output channel has a scale, each token a scale and an
    offset.

    torch's kernel has one scale for all tokens of a block. A single outlier would reduce the precision of all other
    tokens, and a sentence's vector would depend on the rest of the batch. So each token is first mapped to integers
    from 0 to 255, x = low + scale * n. The product then becomes W x + b = scale * (W n) + low * (W 1) + b.

    The mapping is FBGEMM's for embedding tables, the only one that torch computes in a single pass. As `amin`, `amax`,
    a division and two casts it took a tenth of a layer's time. It appends scale and low, four bytes each, to the
    token's numbers. The weight has zeros for these eight.

    Where the kernel would cut sums off, it gets smaller weights. Those of Sentriton's operators are `within_16_bits`.
    oneDNN documents no pairs, so it gets weights of 7 bits. The file has 8 bits, since another processor may load it.
    """

    __constants__: ClassVar = ["operators", "mixed"]

    def __init__(self, linear: nn.Linear, operators: bool = False, mixed: bool = False) -> None:
        super().__init__()
        self.operators = operators
        self.mixed = mixed
        weight = linear.weight.detach().float()
        self.plain_scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)
        self.plain_weight = (weight / self.plain_scales[:, None]).round().to(torch.int8)
        self.bias = linear.bias.detach().float()
        self.prepare()

    def prepare(self) -> None:
        weight, self.scales = self.plain_weight, self.plain_scales
        if self.uses_operators():
            if self.operators_cut_sums_off():
                weight = self.shrunk(weight, within_16_bits(weight))
        elif onednn_cuts_sums_off():
            weight = self.shrunk(weight, torch.tensor([[63.0 / 127.0]]))  # the largest pair is 2 * 63 * 255 = 32,130
        self.weight = self.order(weight)
        self.row_sums = weight.sum(dim=1) * self.scales
        self.no_offsets = torch.zeros_like(self.scales, dtype=torch.int64)
        self.for_operators = [self.weight, self.bias, self.scales, self.row_sums]

    def shrunk(self, weight: Tensor, factors: Tensor) -> Tensor:
        """The weights times factors [outputs, 1], or [1, 1] for all, rounded. Their scales grow accordingly."""
        self.scales = self.plain_scales / factors.flatten()
        return (weight * factors).round().to(torch.int8)

    def uses_operators(self) -> bool:
        if self.operators:  # as in OrderedLinear
            return operators_suit(torch.int8, self.mixed)
        return False

    def operators_cut_sums_off(self) -> bool:
        if self.operators:  # as in OrderedLinear
            return bool(torch.ops.sentriton.cuts_sums_off())
        return False

    def order(self, weight: Tensor) -> Tensor:
        if self.operators:  # noqa: SIM102 - as in uses_operators
            if operators_suit(weight.dtype, self.mixed):
                return torch.ops.sentriton.order(weight)
        return torch.ops.onednn.qlinear_prepack(nn.functional.pad(weight, [0, 8]), None)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.mixed:
            hidden = hidden.to(torch.float32)
        numbers = torch.ops.quantized.embedding_bag_byte_prepack(hidden)
        # Reinterprets the bytes as float32. TorchScript has no `view` to another dtype, and `set_` checks none.
        scale_and_low = torch.empty([0]).set_(numbers[:, hidden.size(1) :].clone(), 0, [hidden.size(0), 2], [2, 1])
        product = torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, 0, self.weight, self.scales, self.no_offsets, None, 1.0, 0, torch.float32, "none", [], ""
        )
        torch.addcmul(self.bias, product, scale_and_low[:, :1], out=product)
        return product.addcmul_(scale_and_low[:, 1:], self.row_sums)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, Tensor, Tensor, bool]:
        return self.plain_weight, self.plain_scales, self.bias, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, Tensor, Tensor, bool]) -> None:
        self.plain_weight, self.plain_scales, self.bias, self.training = state
        self.prepare()
        self.plain_weight = torch.empty([0])
