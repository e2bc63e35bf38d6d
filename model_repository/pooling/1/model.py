"""Turns the encoder's token embeddings into sentence embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .head import load_head


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.head = load_head(folder)
        self.key = json.loads((folder / "key.json").read_text())["key"]

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        token_embeddings, pooled, row, key = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("token_embeddings", "pooled", "row", "key")
        )
        # Rows come from embed_tokens, which has checked them and knows the key.
        if not np.array_equal(key, np.full_like(key, self.key)):
            message = "pooling answers embed_tokens alone; send the request to embed_tokens"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        sentence_embedding = self.head.embed(token_embeddings, pooled[:, 0], row[:, 0])
        return pb_utils.InferenceResponse([pb_utils.Tensor("sentence_embedding", sentence_embedding)])
