"""Checks the options of `encode` and resolves them for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from sentriton.arguments import check_unicode, choice, whole_number
from sentriton.errors import InvalidInput
from sentriton.keywords import AnyArguments, EmbeddingPrecision, OutputValue
from sentriton.manifest import Manifest

QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class EncodeOptions:
    """The checked arguments of `encode` that affect its result."""

    prompt: str
    max_rows: int
    output_value: OutputValue
    precision: EmbeddingPrecision
    convert_to_numpy: bool
    convert_to_tensor: bool
    normalize_embeddings: bool
    dimension: int
    model_dimension: int
    show_progress_bar: bool


def resolve_options(arguments: AnyArguments, prompt: str, manifest: Manifest) -> EncodeOptions:
    """The options for the model of `manifest`. Raises `InvalidInput` for an invalid value."""
    # sentence-transformers' evaluators pass None for float32.
    precision = arguments.get("precision")
    batch_size, truncate_dim = arguments.get("batch_size"), arguments.get("truncate_dim")
    max_rows, dimension = manifest.max_batch_size, manifest.dimension
    if batch_size is not None:
        max_rows = min(whole_number("batch_size", batch_size), max_rows)
    convert_to_tensor = bool(arguments.get("convert_to_tensor", False))
    return EncodeOptions(
        prompt=prompt,
        max_rows=max_rows,
        output_value=choice("output_value", arguments.get("output_value", "sentence_embedding"), get_args(OutputValue)),
        precision=choice("precision", "float32" if precision is None else precision, get_args(EmbeddingPrecision)),
        convert_to_numpy=arguments.get("convert_to_numpy", True) and not convert_to_tensor,
        convert_to_tensor=convert_to_tensor,
        normalize_embeddings=arguments.get("normalize_embeddings", False),
        dimension=dimension if truncate_dim is None else whole_number("truncate_dim", truncate_dim, most=dimension),
        model_dimension=dimension,
        show_progress_bar=bool(arguments.get("show_progress_bar", False)),
    )


def resolve_prompt(
    manifest: Manifest, prompt_name: str | None, prompt: str | None, preferred: Sequence[str] = ()
) -> str:
    """The text before every sentence: `prompt`, else the model's prompt `prompt_name`, else the first of the
    `preferred` ones, else the model's default. Raises `InvalidInput` for an unknown name.
    """
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InvalidInput(f"prompt is {prompt!r} ({type(prompt).__name__}); give a string or None")
        check_unicode("prompt", prompt)
        return str.__str__(prompt)  # as for sentences
    default = next((name for name in preferred if name in manifest.prompts), manifest.default_prompt_name)
    name = default if prompt_name is None else prompt_name
    if name is None:
        return ""
    if not isinstance(name, str) or name not in manifest.prompts:
        known = ", ".join(map(repr, manifest.prompts)) or "none"
        raise InvalidInput(f"prompt_name is {name!r}; the model's prompts are {known}")
    return manifest.prompts[name]
