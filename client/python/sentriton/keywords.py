"""The types of the encoders' keyword arguments and arrays."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict, TypeVar, Union

import numpy as np

if TYPE_CHECKING:
    # Without torch, tensors are unknown to type checkers. Arrays keep their types.
    from torch import Tensor
    from typing_extensions import Required

__all__ = [
    "AsyncSentences",
    "Common",
    "EmbeddingPrecision",
    "EncodeArguments",
    "Encoded",
    "EncodedMany",
    "EncodedOne",
    "Matrix",
    "ModelChange",
    "OutputValue",
    "Priority",
    "Sentences",
    "Settings",
    "StreamArguments",
    "StreamPrecision",
    "Vector",
]

Scalar = TypeVar("Scalar", bound=np.generic)
Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[Scalar]]
Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[Scalar]]


class StringCollection(Protocol):
    """A collection of strings that is not a `str`."""

    def __contains__(self, item: object, /) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...


Several: TypeAlias = StringCollection | Iterator[str]
Sentences: TypeAlias = str | Several
"""One string, or a list, an array, a column, an iterator or another collection."""
AsyncSentences: TypeAlias = Iterable[str] | AsyncIterable[str]
Priority: TypeAlias = Literal["query", "bulk"]
ModelChange: TypeAlias = Literal["raise", "reload"]
OutputValue: TypeAlias = Literal["sentence_embedding", "token_embeddings"]
EmbeddingPrecision: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
StreamPrecision: TypeAlias = Literal["float32", "binary", "ubinary"]

EncodedOne: TypeAlias = Union[
    Vector[np.float32],
    Vector[np.int8],
    Vector[np.uint8],
    Matrix[np.float32],
    Matrix[np.int8],
    Matrix[np.uint8],
    "Tensor",
]
"""The result of `encode` for one string."""
EncodedMany: TypeAlias = Union[
    Matrix[np.float32],
    Matrix[np.int8],
    Matrix[np.uint8],
    "Tensor",
    "list[Tensor]",
    list[Matrix[np.float32]],
    list[Matrix[np.int8]],
    list[Matrix[np.uint8]],
]
"""The result of `encode` for several strings."""
Encoded: TypeAlias = EncodedOne | EncodedMany
"""The result of `encode`."""


class Settings(TypedDict, total=False):
    """The settings of an encoder except `url`, as in `ClientSettings`. None: unset."""

    timeout_s: float | None
    stall_timeout_s: float | None
    priority: Priority | None
    max_in_flight: SupportsIndex | None
    on_model_change: ModelChange | None
    tls: bool | None
    root_certificates: str | None
    client_certificate: str | None
    client_key: str | None
    server_name: str | None
    access_key: str | None


class Common(TypedDict, total=False):
    """`EncodeArguments` without those that change the result type."""

    batch_size: SupportsIndex | None
    show_progress_bar: bool | None
    device: object
    normalize_embeddings: bool
    truncate_dim: SupportsIndex | None
    pool: object
    chunk_size: SupportsIndex | None
    timeout_s: float | None


class Conversion(Common, total=False):
    output_value: OutputValue
    convert_to_numpy: bool
    convert_to_tensor: bool


class EncodeArguments(Conversion, total=False):
    """Options of the methods that encode, without the prompt."""

    precision: EmbeddingPrecision | None


class AnyArguments(EncodeArguments, total=False):
    """The options, and the other name of the sentences."""

    inputs: Sentences | None


# The overloads' options for each result type.


class Prompts(Common, total=False):
    """The options, and the text before every sentence."""

    prompt_name: str | None
    prompt: str | None


class StreamArguments(Conversion, Prompts, total=False):
    """Options of `encode_stream`."""

    precision: StreamPrecision | None


class ToAny(EncodeArguments, Prompts, total=False):
    """Options whose result type is known at run time only."""


class ToArrays(Prompts, total=False):
    """Embeddings of sentences in numpy."""

    output_value: Literal["sentence_embedding"]
    convert_to_numpy: Literal[True]
    convert_to_tensor: Literal[False]


class ToFloat32(ToArrays, total=False):
    precision: Literal["float32"] | None


class ToInt8(ToArrays, total=False):
    precision: Required[Literal["int8", "binary"]]


class ToUint8(ToArrays, total=False):
    precision: Required[Literal["uint8", "ubinary"]]


class ForTensor(Prompts, total=False):
    output_value: Literal["sentence_embedding"]
    convert_to_numpy: bool
    convert_to_tensor: Required[Literal[True]]


class ForTensors(Prompts, total=False):
    output_value: Literal["sentence_embedding"]
    convert_to_numpy: Required[Literal[False]]
    convert_to_tensor: Literal[False]


class ToTensor(ForTensor, total=False):
    precision: EmbeddingPrecision | None


class ToTensors(ForTensors, total=False):
    precision: EmbeddingPrecision | None


class StreamTensor(ForTensor, total=False):
    precision: StreamPrecision | None


class StreamTensors(ForTensors, total=False):
    precision: StreamPrecision | None


class ToTokens(Prompts, total=False):
    """Token embeddings for each sentence: a tensor, or an array if torch is not installed."""

    output_value: Required[Literal["token_embeddings"]]
    precision: Literal["float32"] | None
    convert_to_numpy: bool
    convert_to_tensor: bool
