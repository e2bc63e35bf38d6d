"""A call's knowledge of the served model."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton.manifest import Manifest
from sentriton.tokenization import TextTokenizer


@dataclass(frozen=True)
class ServedModel:
    """The manifest of a served model and its tokenizer. A call uses only one of these."""

    manifest: Manifest
    tokenizer: TextTokenizer
