"""The bodies of requests and answers of OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictInt, Tag, model_validator

# Only the first error is reported, since errors of millions of elements would take gigabytes.
TokenIds: TypeAlias = Annotated[list[StrictInt], Field(fail_fast=True)]


def _form(given: Any) -> str | None:
    """The form of an input by its first element."""
    if isinstance(given, str):
        return "text"
    if not isinstance(given, list) or not given:
        return None
    first = given[0]
    if isinstance(first, list):
        return "token arrays"
    return "tokens" if isinstance(first, int) and not isinstance(first, bool) else "texts"


InputValue: TypeAlias = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(fail_fast=True), Tag("texts")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[list[TokenIds], Field(fail_fast=True), Tag("token arrays")],
    Discriminator(
        _form,
        custom_error_type="input_form",
        custom_error_message="give a string, a list of strings, a list of token ids or a list of such lists, not empty",
    ),
]


class EmbeddingsRequest(BaseModel):
    """The body of POST /v1/embeddings."""

    model_config = ConfigDict(extra="forbid")

    input: InputValue
    model: str
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = Field(None, description="Ignored.")
    prompt_name: str | None = Field(
        None, description="A prompt of the model, as in `encode`. OpenAI has no such field."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_one_unknown_field(cls, given: Any) -> Any:
        """The body with only the first of its unknown fields, since pydantic creates an error for each."""
        if not isinstance(given, dict):
            return given
        unknown = [name for name in given if name not in cls.model_fields]
        return {name: value for name, value in given.items() if name in cls.model_fields or name == unknown[0]}

    def rows(self) -> list[str] | list[TokenIds]:
        """The input as a list."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """The answer of POST /v1/embeddings. A base64 embedding has float32 numbers, little-endian."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """A model. The fields after `owned_by` are Sentriton's additions."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0  # a manifest has no date
    owned_by: str = "sentriton"
    dimension: int
    max_seq_length: int
    vocab_size: int
    similarity: str
    pooling: tuple[str, ...]
    prompts: list[str]
    precision: str
    device: str
    fingerprint: str


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorContent(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    error: ErrorContent


class Health(BaseModel):
    """A working server. If its queue is full, the status is "overloaded" and the other fields are empty."""

    status: Literal["ok", "overloaded"] = "ok"
    model: str | None
    min_cosine: float | None = Field(description="The smallest cosine to the golden vectors.")
