"""Runs TorchScript files like Triton's libtorch backend. Plain torch, free of Triton.

It supports the documented settings that the repository uses: stacked rows of all requests, argument names, output
dtypes. The sources in triton-inference-server are pytorch_backend/README.md and
server/docs/user_guide/model_configuration.md. It rejects all other settings, and all requests that the libtorch backend
rejects or answers wrongly. docs/decisions/stand-in.md lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def check_config(config: dict[str, Any]) -> None:
    """Raises ValueError for a configuration that this stand-in or the libtorch backend does not support."""
    for described in (*config["input"], *config["output"]):
        if described["data_type"] not in DTYPES:
            raise ValueError(
                f"{described['name']!r} is {described['data_type']}, which the libtorch backend or its stand-in does "
                f"not have; allowed are {', '.join(DTYPES)}"
            )
    if config.get("sequence_batching"):
        raise ValueError("the configuration asks for sequence batching; use dynamic_batching or neither")
    if not config.get("max_batch_size"):
        raise ValueError("max_batch_size is 0, and this stand-in stacks rows; set it to 1 or more")
    _refuse_ragged(config)


def is_true(parameters: dict[str, str], name: str, default: bool) -> bool:
    """The value of a boolean parameter. Raises ValueError for other words, as the backend does."""
    text = parameters.get(name, str(default).lower())
    if text.lower() not in ("true", "false"):
        raise ValueError(f"parameter {name} is {text!r}; allowed are true, false")
    return text.lower() == "true"


def _refuse_ragged(config: dict[str, Any]) -> None:
    ragged = [described["name"] for described in config["input"] if described.get("allow_ragged_batch")]
    asked = [key for key in ("batch_input", "batch_output") if config.get(key)]
    if ragged or asked:
        raise ValueError(
            f"the configuration asks for ragged batching ({', '.join(ragged + asked)}), which this stand-in for the "
            "libtorch backend does not have; use Triton's own"
        )


def argument_order(names: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The order of the inputs of `forward`: by name if every name is one of its arguments, else by index. In the latter
    case every name must end in two underscores and its index (INPUT__0).
    """
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
    """Raises ValueError if the configured dtype of an output differs from the module's. The backend converts none."""
    if output.dtype != DTYPES[data_type]:
        raise ValueError(
            f"output {name!r} of the model is {NAMES.get(output.dtype, output.dtype)}, "
            f"the configuration says {data_type}"
        )


class TorchScriptModel:
    """Runs a TorchScript file on the tensors of several requests, by its configuration."""

    def __init__(self, path: Path, config: dict[str, Any], device: torch.device) -> None:
        check_config(config)
        self.module = torch.jit.load(str(path), map_location=device).eval()
        self.device = device
        self.outputs = config["output"]
        arguments = [argument.name for argument in self.module.forward.schema.arguments][1:]
        self.arguments = argument_order([described["name"] for described in config["input"]], arguments)

    def run(self, requests: Sequence[dict[str, Tensor]]) -> list[list[Tensor]]:
        """Execute one batch. `requests` has the inputs [rows, ...] of each request by name. Returns the outputs of each
        request, on the device of the model.
        """
        if len(requests) > 1 and any(tensor.numel() == 0 for request in requests for tensor in request.values()):
            # The libtorch backend would fill the other inputs with old content of its memory.
            raise ValueError("a request of a batch has no elements; send at least one row")
        values = [torch.cat([request[name] for request in requests]).to(self.device) for name in self.arguments]
        returned = self.module(*values)
        returned = (returned,) if isinstance(returned, Tensor) else returned
        if not isinstance(returned, tuple) or not all(isinstance(output, Tensor) for output in returned):
            raise ValueError("forward returned neither a tensor nor a tuple of tensors; return one of these")
        rows = [request[self.arguments[0]].shape[0] for request in requests]
        outputs = [
            self._split(described, output, rows) for described, output in zip(self.outputs, returned, strict=True)
        ]
        return [list(outputs_of_request) for outputs_of_request in zip(*outputs, strict=True)]

    def _split(self, described: dict[str, Any], output: Tensor, rows: list[int]) -> list[Tensor]:
        check_output_dtype(described["name"], output, described["data_type"])
        if output.shape[0] != sum(rows):
            # The libtorch backend would return the memory after the output's end.
            raise ValueError(f"the model returned {output.shape[0]} rows, the requests of the batch have {sum(rows)}")
        return list(output.contiguous().split(rows))
