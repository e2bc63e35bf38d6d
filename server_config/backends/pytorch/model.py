"""A stand-in for Triton's libtorch backend, for a Triton that has only the Python backend.

Triton looks for `backends/pytorch/libtriton_pytorch.so` first, and uses this file if it is missing. The same model
repository, with `backend: "pytorch"` and `model.pt`, works with both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torchscript import TorchScriptModel, is_true


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        _apply_settings(parameters)
        without_gradients = is_true(parameters, "INFERENCE_MODE", default=True)
        self.execution_mode = torch.inference_mode if without_gradients else torch.no_grad
        file_name = config.get("default_model_filename") or "model.pt"
        path = Path(args["model_repository"]) / args["model_version"] / file_name
        if not path.is_file():
            raise pb_utils.TritonModelException(f"no {file_name} at {path.parent}; export the checkpoint first")
        _load_operators(path.parent)
        on_gpu = args["model_instance_kind"] == "GPU"
        device = torch.device(f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")
        self.model = TorchScriptModel(path, config, device)
        # The family must live as long as its metric.
        self.elements_family = pb_utils.MetricFamily(
            name="sentriton_encoder_elements_total",
            description="Tokens that the TorchScript module has computed",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.elements = self.elements_family.Metric(labels={"model": args["model_name"]})

    def execute(self, requests: list[Any]) -> list[Any]:
        inputs = [
            {tensor.name(): torch.from_dlpack(tensor.to_dlpack()) for tensor in request.inputs()}
            for request in requests
        ]
        try:
            with self.execution_mode():
                results = self.model.run(inputs)
                if self.model.device.type == "cuda":
                    # Another stream reads the outputs.
                    torch.cuda.synchronize(self.model.device)
        except Exception as error:  # like the libtorch backend: the whole execution fails with this message
            message = f"PyTorch execute failure: {_reason(error)}"
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(message)) for _ in requests]
        self.elements.increment(sum(outputs[0].shape[:-1].numel() for outputs in results))
        names = [described["name"] for described in self.model.outputs]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack(name, output) for name, output in zip(names, outputs, strict=True)]
            )
            for outputs in results
        ]


def _load_operators(folder: Path) -> None:
    """Load the export's library of operators, if any. Triton's own libtorch backend cannot, so `sentriton serve`
    rejects such an export there.
    """
    for library in folder.glob("operators.torch-*.so"):
        version = library.stem.partition("-")[2]
        if not torch.__version__.startswith(f"{version}."):
            raise pb_utils.TritonModelException(
                f"the export's operators are for torch {version}, and torch {torch.__version__} is installed; export "
                "again with this torch or with --operators torch"
            )
        try:
            torch.ops.load_library(str(library))
        except OSError as error:
            raise pb_utils.TritonModelException(
                f"cannot load the export's {library.name} ({error.__cause__ or error}); export again on this system or "
                "with --operators torch"
            ) from error


def _reason(error: Exception) -> str:
    """The last line that is not empty, since TorchScript puts a traceback before the message of a `raise`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _apply_settings(parameters: dict[str, str]) -> None:
    """Apply the backend's parameters that affect results or speed here."""
    if threads := parameters.get("INTRA_OP_THREAD_COUNT"):
        torch.set_num_threads(int(threads))
    if threads := parameters.get("INTER_OP_THREAD_COUNT"):
        torch.set_num_interop_threads(int(threads))
    # Without optimized execution, the saved graph runs on any shape without a compiler pass.
    torch._C._get_graph_executor_optimize(not is_true(parameters, "DISABLE_OPTIMIZED_EXECUTION", default=False))
