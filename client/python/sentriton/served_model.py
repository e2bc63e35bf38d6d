"""What a call knows of the model that is served."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton.manifest import Manifest
from sentriton.tokenization import TextTokenizer


@dataclass(frozen=True)
class ServedModel:
    """The manifest of a served model and its tokenizer: a call uses one of these throughout."""

    manifest: Manifest
    tokenizer: TextTokenizer
