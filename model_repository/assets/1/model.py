"""Serves the exported files in its folder, so that a client needs only an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.contents = {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        name = pb_utils.get_input_tensor_by_name(request, "name").as_numpy()[0].decode("utf-8", "replace")
        if name not in self.contents:
            # Truncated, because gRPC libraries drop messages of more than 8 KiB.
            message = f"unknown asset {name[:100]!r}; there are {', '.join(self.contents)}"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        content = np.array([self.contents[name]], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("content", content)])
