"""Reads a sentence-transformers checkpoint, and names the part of it that cannot be served."""

from sentriton_server.checkpoint.errors import CheckpointError, refusals_of
from sentriton_server.checkpoint.reading import (
    Checkpoint,
    content_key,
    fingerprint,
    locate_checkpoint,
    read_checkpoint,
    read_head,
    read_located,
    read_unserved,
)
from sentriton_server.checkpoint.tokenizer import read_tokenizer

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "content_key",
    "fingerprint",
    "locate_checkpoint",
    "read_checkpoint",
    "read_head",
    "read_located",
    "read_tokenizer",
    "read_unserved",
    "refusals_of",
]
