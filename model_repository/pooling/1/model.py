"""Turns the encoder's token embeddings into sentence embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from head import load_head


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.head = load_head(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        token_embeddings, attention_mask = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("token_embeddings", "attention_mask")
        )
        if attention_mask.shape != token_embeddings.shape[:2]:
            # An exception would fail every request of the batch.
            message = (
                f"attention_mask has shape {list(attention_mask.shape)} for token_embeddings of "
                f"{list(token_embeddings.shape)}; the first two dimensions must be the same"
            )
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        sentence_embedding = self.head.embed(token_embeddings, attention_mask)
        return pb_utils.InferenceResponse([pb_utils.Tensor("sentence_embedding", sentence_embedding)])
