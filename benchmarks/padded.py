"""The usual Triton repository for a sentence encoder, as baseline: the traced Hugging Face module with mean pooling,
and a dynamic batcher. Every request is padded to one length, since the batcher only joins requests of equal shape.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from google.protobuf import text_format
from torch import Tensor, nn
from transformers import AutoModel
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_INT64, ModelConfig, ModelInstanceGroup
from tritonclient.grpc.service_pb2 import ModelInferRequest

MODEL = "padded"
PAD_TOKEN_ID = 1


class MeanPooled(nn.Module):
    """Embeds [rows, length] ids and mask to [rows, hidden]."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return ((hidden * weights).sum(1) / weights.sum(1)).float()


def add_padded_model(
    repository: Path, checkpoint: Path, length: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> None:
    """Add the model `padded` (rows of `length` tokens) for a device, cpu or gpu, to a model repository."""
    where = "cuda" if device == "gpu" else "cpu"
    encoder = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False, attn_implementation="eager").eval()
    encoder = encoder.to(where, dtype)
    example = torch.full([2, length], 5, device=where)
    with torch.no_grad():
        traced = torch.jit.trace(MeanPooled(encoder), (example, torch.ones_like(example)), check_trace=False)
    folder = repository / MODEL
    (folder / "1").mkdir(parents=True)
    traced.save(str(folder / "1/model.pt"))
    config = ModelConfig(name=MODEL, backend="pytorch", max_batch_size=64)
    for name in ("input_ids", "attention_mask"):
        config.input.add(name=name, data_type=TYPE_INT64, dims=[length])
    config.output.add(name="sentence_embedding", data_type=TYPE_FP32, dims=[encoder.config.hidden_size])
    kind = ModelInstanceGroup.KIND_GPU if device == "gpu" else ModelInstanceGroup.KIND_CPU
    config.instance_group.add(count=1, kind=kind)
    config.dynamic_batching.SetInParent()
    config.parameters["DISABLE_OPTIMIZED_EXECUTION"].string_value = "true"
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config))


def padded_request(row: list[int], length: int) -> ModelInferRequest:
    """A request to the model `padded` for one row of token ids."""
    ids = np.full((1, length), PAD_TOKEN_ID, np.int64)
    ids[0, : len(row)] = row
    request = ModelInferRequest(model_name=MODEL)
    for name, values in (("input_ids", ids), ("attention_mask", (np.arange(length) < len(row)).astype(np.int64))):
        request.inputs.add(name=name, datatype="INT64", shape=[1, length])
        request.raw_input_contents.append(values.tobytes())
    return request
