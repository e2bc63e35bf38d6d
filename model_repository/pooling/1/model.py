"""Turns the encoder's token embeddings into sentence embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .head import load_head

# A parameter of the Python backend. "no" keeps token embeddings on the GPU that computed them.
HOST_ONLY = "FORCE_CPU_ONLY_INPUT_TENSORS"


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads(args["model_config"]).get("parameters", {})
        if parameters.get(HOST_ONLY, {}).get("string_value") == "no":
            _require_torch()
        self.head = load_head(folder)
        self.key = json.loads((folder / "key.json").read_text())["key"]

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        token_embeddings, pooled, row, key = (
            _array(pb_utils.get_input_tensor_by_name(request, name))
            for name in ("token_embeddings", "pooled", "row", "key")
        )
        # Only embed_tokens sends the key, and it has checked the rows.
        if not (key == self.key).all():
            message = "pooling answers embed_tokens alone; send the request to embed_tokens"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        sentence_embedding = self.head.embed(token_embeddings, pooled[:, 0], row[:, 0])
        return pb_utils.InferenceResponse([pb_utils.Tensor("sentence_embedding", sentence_embedding)])


def _array(tensor: Any) -> Any:
    """The tensor without a copy: as a numpy array, or as a torch tensor if it is on a GPU."""
    if tensor.is_cpu():
        return tensor.as_numpy()
    import torch

    return torch.from_dlpack(tensor.to_dlpack())


def _require_torch() -> None:
    try:
        import torch
    except ImportError as error:
        raise pb_utils.TritonModelException(
            "pooling on a GPU needs torch with CUDA, and this Python environment has no torch; install it (the image "
            "of docker/Dockerfile has it), or export the checkpoint for a CPU"
        ) from error
    if torch.cuda.is_available():
        torch.cuda.init()
