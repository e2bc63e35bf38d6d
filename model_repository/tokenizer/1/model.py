"""Tokenizes as the Python client does: the same library reads the same tokenizer.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# A pool of threads of its own would fight the encoder for the cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import triton_python_backend_utils as pb_utils
from tokenization import TextError, decode_texts, load_tokenizer, tokenize


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self.most_bytes = int(parameters["TEXT_BYTES"]["string_value"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self.tokenizer = load_tokenizer(folder / "tokenizer.json")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        try:
            input_ids, attention_mask = tokenize(self.tokenizer, decode_texts(text, self.most_bytes))
        except TextError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("input_ids", input_ids), pb_utils.Tensor("attention_mask", attention_mask)]
        )
