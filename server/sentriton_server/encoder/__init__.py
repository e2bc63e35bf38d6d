"""The padding-free TorchScript encoder: Hugging Face weights in, `model.pt` out."""

from sentriton_server.encoder.architecture import EncoderSpec, UnsupportedEncoder, read_encoder
from sentriton_server.encoder.packed import PackedEncoder
from sentriton_server.encoder.precision import PRECISIONS, Precision, compile_encoder

__all__ = [
    "PRECISIONS",
    "EncoderSpec",
    "PackedEncoder",
    "Precision",
    "UnsupportedEncoder",
    "compile_encoder",
    "read_encoder",
]
