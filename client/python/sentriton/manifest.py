"""The manifest, a server's description of its model."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sentriton.similarity import SIMILARITY

TOKENIZER = "tokenizer.json"
_MAX_DIMENSION = 65_536  # bounds the memory that is allocated before the first answer


@dataclass(frozen=True)
class Manifest:
    """The served model, from manifest.json of `sentriton export`.

    - `name`: the folder or hub id of the checkpoint
    - `fingerprint`: the sha256 of weights, tokenizer, modules, prompts and max_seq_length. It is the same at every
      precision and on every device, so vectors of all precisions and devices may share an index.
    - `dimension`: the length of a sentence embedding
    - `max_seq_length`: the number of tokens at which a text is truncated
    - `vocab_size`: the number of token ids
    - `max_batch_size`: largest number of sentences in a client's request
    - `pooling`: the pooling modes
    - `include_prompt`: whether pooling includes the prompt
    - `prompts`, `default_prompt_name`: the texts that may precede a sentence, by name
    - `similarity`: cosine, dot, euclidean or manhattan
    - `precision`, `device`: those of the export
    - `min_cosine`: the smallest allowed cosine to sentence-transformers
    - `parity`: the comparison of the exported model with sentence-transformers in fp32
    - `files`: the sha256 of `tokenizer.json`, `golden.json` and `model.pt`
    - `sentriton_version`: the release that exported the model
    """

    name: str
    fingerprint: str
    dimension: int
    max_seq_length: int
    vocab_size: int
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
        """Read a manifest. Raises a `ValueError` that names the missing or wrong field. Ignores unknown fields."""
        values: dict[str, Any] = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"the manifest is a {type(values).__name__}; expected an object")  # noqa: TRY004
        names = {field.name for field in dataclasses.fields(cls)}
        missing = sorted(names - set(values))
        if missing:
            raise ValueError(f"the manifest lacks {', '.join(missing)}")
        for name, (allowed, holds) in _FIELDS.items():
            if not holds(values[name]):
                raise ValueError(f"the manifest's {name} is {json.dumps(values[name])[:200]}; expected {allowed}")
        default = values["default_prompt_name"]
        if default is not None and default not in values["prompts"]:
            raise ValueError(f"the manifest's default_prompt_name is {default!r}; expected one of its prompts")
        known = {name: values[name] for name in names}
        return cls(**{**known, "pooling": tuple(known["pooling"])})

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int, most: int = 2**31 - 1) -> tuple[str, Check]:
    return f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most


def _object_of(check: Check, *keys: str) -> Check:
    def holds(value: Any) -> bool:
        return isinstance(value, dict) and set(keys) <= set(value) and all(map(check, value.values()))

    return holds


_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXT = ("a text", _text)
_FIELDS: dict[str, tuple[str, Check]] = {
    "name": _TEXT,
    "fingerprint": _TEXT,
    "dimension": _whole(1, _MAX_DIMENSION),
    "max_seq_length": _whole(1),
    "vocab_size": _whole(1),
    "max_batch_size": _whole(1),
    "pooling": ("a list of strings", lambda value: isinstance(value, list) and all(map(_text, value))),
    "include_prompt": ("true or false", lambda value: isinstance(value, bool)),
    "prompts": ("an object of strings", _object_of(lambda value: isinstance(value, str))),
    "default_prompt_name": ("a string or null", lambda value: value is None or isinstance(value, str)),
    "similarity": (f"one of {', '.join(SIMILARITY)}", lambda value: isinstance(value, str) and value in SIMILARITY),
    "precision": _TEXT,
    "device": _TEXT,
    "min_cosine": ("a number from -1 to 1", lambda value: _number(value) and -1 <= value <= 1),
    "parity": ("an object of numbers with min_cosine and sentences", _object_of(_number, "min_cosine", "sentences")),
    "files": (
        f"an object of sha256 sums with that of {TOKENIZER}",
        _object_of(lambda value: isinstance(value, str) and _SHA256.fullmatch(value) is not None, TOKENIZER),
    ),
    "sentriton_version": _TEXT,
}
