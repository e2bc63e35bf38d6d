"""What a server says about its model: the one file that client and server agree on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Manifest:
    """The served model. Written by `sentriton export` as manifest.json, read by every client.

    `fingerprint` is the sha256 of what fixes the vectors' meaning: weights, tokenizer, modules, max_seq_length. It is
    the same at every precision and on every device, so that one index may be filled from any of them. `files` holds
    the sha256 of the other assets. `parity` says how the exported model compares with sentence-transformers in fp32.
    """

    name: str
    fingerprint: str
    dimension: int
    max_seq_length: int
    vocab_size: int
    pad_token_id: int
    max_batch_size: int
    pooling: tuple[str, ...]
    include_prompt: bool
    prompts: dict[str, str]
    default_prompt_name: str | None
    similarity: str
    precision: str
    device: str
    min_cosine: float
    parity: dict[str, float]
    files: dict[str, str]
    sentriton_version: str

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Raises ValueError when `text` is not a manifest. Fields of a newer server that this client lacks are left
        out.
        """
        values: dict[str, Any] = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"the manifest is a {type(values).__name__} and not an object")  # noqa: TRY004
        names = {field.name for field in dataclasses.fields(cls)}
        missing = sorted(names - set(values))
        if missing:
            raise ValueError(f"the manifest lacks {', '.join(missing)}")
        known = {name: values[name] for name in names}
        return cls(**{**known, "pooling": tuple(known["pooling"])})

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
