"""Runs TorchScript files as Triton's libtorch backend does: plain torch, free of Triton.

What is honoured is what NVIDIA documents (triton-inference-server: pytorch_backend/README.md, and in
server/docs/user_guide ragged_batching.md and model_configuration.md): ragged inputs, batch inputs, batch outputs,
argument names, output dtypes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "TYPE_BOOL": torch.bool,
    "TYPE_UINT8": torch.uint8,
    "TYPE_INT8": torch.int8,
    "TYPE_INT16": torch.int16,
    "TYPE_INT32": torch.int32,
    "TYPE_INT64": torch.int64,
    "TYPE_FP16": torch.float16,
    "TYPE_FP32": torch.float32,
    "TYPE_FP64": torch.float64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()} | {torch.bfloat16: "TYPE_BF16"}


def join(tensors: Sequence[Tensor], *, ragged: bool) -> Tensor:
    """The batch of one input: all elements in request order, one-dimensional, where it may be ragged; else stacked
    rows.
    """
    return torch.cat([tensor.reshape(-1) for tensor in tensors]) if ragged else torch.cat(list(tensors))


def _element_counts(tensors: Sequence[Tensor]) -> list[int]:
    return [tensor.numel() for tensor in tensors]


def _accumulated(tensors: Sequence[Tensor]) -> list[int]:
    return torch.tensor(_element_counts(tensors)).cumsum(0).tolist()


def _item_shapes(tensors: Sequence[Tensor]) -> list[list[int]]:
    return [list(tensor.shape[1:]) for tensor in tensors for _ in range(tensor.shape[0])]


# The values of each kind of batch input (model_config.proto, BatchInput.Kind), from one source input of every request.
BATCH_INPUTS: dict[str, Callable[[Sequence[Tensor]], Any]] = {
    "BATCH_ELEMENT_COUNT": _element_counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": _accumulated,
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda tensors: [0, *_accumulated(tensors)],
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda tensors: [0] * max(_element_counts(tensors)),
    "BATCH_ITEM_SHAPE": _item_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": lambda tensors: [size for shape in _item_shapes(tensors) for size in shape],
}


def batch_input(kind: str, tensors: Sequence[Tensor], data_type: str) -> Tensor:
    """A batch input of this kind; `tensors` [rows, ...] of the source input, one a request. INT32 or FP32."""
    if kind not in BATCH_INPUTS:
        raise ValueError(f"batch_input of kind {kind} is not supported; supported are {', '.join(BATCH_INPUTS)}")
    return torch.tensor(BATCH_INPUTS[kind](tensors), dtype=DTYPES[data_type])


def scatter_with_input_shape(output: Tensor, dims: Sequence[int], sources: Sequence[Tensor]) -> list[Tensor]:
    """Cut the batch's output into one tensor a request, of shape [rows] + dims with each -1 replaced by the same
    dimension of that request's source input. The real backend does not check the total; a mistake here is better
    said."""
    shapes = [
        [source.shape[0], *(source.shape[at + 1] if size == -1 else size for at, size in enumerate(dims))]
        for source in sources
    ]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    if sum(sizes) != output.numel():
        raise ValueError(f"the model returned {output.numel()} elements, the requests of the batch need {sum(sizes)}")
    return [part.reshape(shape) for part, shape in zip(output.reshape(-1).split(sizes), shapes, strict=True)]


def argument_order(names: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The order in which inputs go to `forward`: by name if every name is one of its arguments, else by the index
    behind a double underscore (INPUT__0), which every name then must have."""
    if set(names) <= set(arguments):
        return [name for name in arguments if name in names]
    indexed = {}
    for name in names:
        _, separator, index = name.rpartition("__")
        if not separator or not index.isdigit():
            raise ValueError(
                f"input {name!r} is neither an argument of forward ({', '.join(arguments)}) nor named as NAME__INDEX"
            )
        indexed[int(index)] = name
    if sorted(indexed) != list(range(len(names))):
        raise ValueError(f"the indices of the inputs {', '.join(names)} must be 0 to {len(names) - 1}, each once")
    return [indexed[index] for index in sorted(indexed)]


def check_output_dtype(name: str, output: Tensor, data_type: str) -> None:
    """The configured dtype of an output must be the module's own: nothing is converted silently."""
    if output.dtype != DTYPES[data_type]:
        raise ValueError(
            f"output {name!r} of the model is {NAMES.get(output.dtype, output.dtype)}, "
            f"the configuration says {data_type}"
        )


class TorchScriptModel:
    """A TorchScript file and its configuration: tensors of many requests in, tensors of each request out."""

    def __init__(self, path: Path, config: dict[str, Any], device: torch.device) -> None:
        self.module = torch.jit.load(str(path), map_location=device).eval()
        self.device = device
        self.inputs = config["input"]
        self.batch_inputs = [
            {**described, "target_name": target, "source": described["source_input"][0]}
            for described in config.get("batch_input", [])
            for target in described["target_name"]
        ]
        self.outputs = config["output"]
        self.scatter_sources = {
            target: described["source_input"][0]
            for described in config.get("batch_output", [])
            for target in described["target_name"]
        }
        arguments = [argument.name for argument in self.module.forward.schema.arguments][1:]
        names = [described["name"] for described in self.inputs]
        names += [described["target_name"] for described in self.batch_inputs]
        self.arguments = argument_order(names, arguments)

    def run(self, requests: Sequence[dict[str, Tensor]]) -> list[list[Tensor]]:
        """Execute one batch. `requests`: the inputs [rows, ...] of each by name. Returns the outputs of each, on the
        CPU.
        """
        by_name = {described["name"]: [request[described["name"]] for request in requests] for described in self.inputs}
        values = {
            described["name"]: join(by_name[described["name"]], ragged=described["allow_ragged_batch"])
            for described in self.inputs
        }
        for described in self.batch_inputs:
            values[described["target_name"]] = batch_input(
                described["kind"], by_name[described["source"]], described["data_type"]
            )
        returned = self.module(*(values[name].to(self.device) for name in self.arguments))
        returned = returned if isinstance(returned, (tuple, list)) else [returned]
        outputs = [
            self._split(described, output, by_name) for described, output in zip(self.outputs, returned, strict=True)
        ]
        return [list(outputs_of_request) for outputs_of_request in zip(*outputs, strict=True)]

    def _split(self, described: dict[str, Any], output: Tensor, by_name: dict[str, list[Tensor]]) -> list[Tensor]:
        name = described["name"]
        check_output_dtype(name, output, described["data_type"])
        output = output.cpu()
        if name in self.scatter_sources:
            return scatter_with_input_shape(output, described["dims"], by_name[self.scatter_sources[name]])
        first = next(iter(by_name.values()))
        return list(output.split([tensor.shape[0] for tensor in first]))
