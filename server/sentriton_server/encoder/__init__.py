"""The padding-free TorchScript encoder: Hugging Face weights in, `model.pt` out."""

from sentriton_server.encoder.architecture import (
    EncoderSpec,
    UnsupportedEncoder,
    check_config,
    check_model_type,
    count_parameters,
    is_count,
    read_encoder,
)
from sentriton_server.encoder.families import FAMILIES
from sentriton_server.encoder.packed import PackedEncoder
from sentriton_server.encoder.precision import PRECISIONS, Precision, compile_encoder, precisions_of

__all__ = [
    "FAMILIES",
    "PRECISIONS",
    "EncoderSpec",
    "PackedEncoder",
    "Precision",
    "UnsupportedEncoder",
    "check_config",
    "check_model_type",
    "compile_encoder",
    "count_parameters",
    "is_count",
    "precisions_of",
    "read_encoder",
]
