"""Turns the encoder's token embeddings into sentence embeddings, and refuses what is not valid, request by request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from head import load_head
from measures import Measures
from validation import explain_fingerprint, explain_tokens


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.head = load_head(Path(args["model_repository"]) / args["model_version"])
        self.measures = Measures()

    def execute(self, requests: list[Any]) -> list[Any]:
        responses = [self.respond(request) for request in requests]
        self.measures.publish()
        return responses

    def respond(self, request: Any) -> Any:
        token_embeddings, input_ids, attention_mask = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("token_embeddings", "input_ids", "attention_mask")
        )
        refusal = explain_fingerprint(json.loads(request.parameters() or "{}"), self.head.fingerprint)
        refusal = refusal or explain_tokens(
            input_ids, attention_mask, vocab_size=self.head.vocab_size, max_seq_length=self.head.max_seq_length
        )
        if refusal:
            return self.refuse(refusal, pb_utils.TritonError.INVALID_ARG)
        sentence_embedding = self.head.embed(token_embeddings, attention_mask)
        # The caller's part was found valid above, so this is the model's: an overflow in fp16, say.
        if not np.isfinite(sentence_embedding).all():
            rows = np.flatnonzero(~np.isfinite(sentence_embedding).all(axis=1)).tolist()
            message = f"the model gave a sentence embedding that is not finite for valid input (rows {rows})"
            return self.refuse(message, pb_utils.TritonError.INTERNAL)
        self.measures.embedded(attention_mask)
        return pb_utils.InferenceResponse([pb_utils.Tensor("sentence_embedding", sentence_embedding)])

    def refuse(self, message: str, code: Any) -> Any:
        self.measures.refused(code)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
