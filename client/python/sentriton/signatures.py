"""The overloads of `SentenceEncoder`: which arguments give which type. Each method has one body, and a decorator
declares its overloads to type checkers. `make signatures` generates signatures_aio.py from it.
"""

# A string is an iterable of strings, and False is a bool: the first overload that fits is the one that counts.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, cast, overload

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from typing_extensions import Unpack

    from sentriton.keywords import (
        EncodeArguments,
        EncodedMany,
        EncodedOne,
        Matrix,
        Sentences,
        Several,
        ToFloat32,
        ToInt8,
        ToTensor,
        ToTensors,
        ToTokens,
        ToUint8,
        Vector,
    )

    Prompt: TypeAlias = str | None

Signature = TypeVar("Signature", covariant=True)


class Signed(Protocol[Signature]):
    """A method that type checkers see as `Signature`. At run time it is the method."""

    def __get__(self, instance: object, owner: type | None = None) -> Signature: ...


class Encode(Protocol):
    """`encode`, `encode_query` and `encode_document` of `SentenceEncoder`."""

    # `Several` excludes strings, so that `str | list[str]` gives both types; `Iterable[str]` includes them.
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Vector[np.float32]: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Vector[np.float32]: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Vector[np.int8]: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Vector[np.int8]: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Vector[np.uint8]: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Vector[np.uint8]: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> Tensor: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> Tensor: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> Tensor: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> Tensor: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> Tensor | Matrix[np.float32]: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> Tensor | Matrix[np.float32]: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[EncodeArguments]
    ) -> EncodedOne: ...
    @overload
    def __call__(
        self, *, inputs: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[EncodeArguments]
    ) -> EncodedOne: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Matrix[np.float32]: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Matrix[np.float32]: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Matrix[np.int8]: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Matrix[np.int8]: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Matrix[np.uint8]: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Matrix[np.uint8]: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> Tensor: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> Tensor: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> list[Tensor]: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> list[Tensor]: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> list[Tensor] | list[Matrix[np.float32]]: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> list[Tensor] | list[Matrix[np.float32]]: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[EncodeArguments]
    ) -> EncodedMany: ...
    @overload
    def __call__(
        self, *, inputs: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[EncodeArguments]
    ) -> EncodedMany: ...
    @overload
    def __call__(
        self, sentences: Sentences, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Vector[np.float32] | Matrix[np.float32]: ...
    @overload
    def __call__(
        self, *, inputs: Sentences, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Vector[np.float32] | Matrix[np.float32]: ...
    @overload
    def __call__(
        self,
        sentences: Sentences,
        prompt_name: Prompt = ...,
        prompt: Prompt = ...,
        **options: Unpack[EncodeArguments],
    ) -> EncodedOne | EncodedMany: ...
    @overload
    def __call__(
        self,
        *,
        inputs: Sentences,
        prompt_name: Prompt = ...,
        prompt: Prompt = ...,
        **options: Unpack[EncodeArguments],
    ) -> EncodedOne | EncodedMany: ...
    @overload
    def __call__(
        self, sentences: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Matrix[np.float32]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Matrix[np.float32]: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        prompt_name: Prompt = ...,
        prompt: Prompt = ...,
        **options: Unpack[EncodeArguments],
    ) -> EncodedMany: ...
    @overload
    def __call__(
        self,
        *,
        inputs: Iterable[str],
        prompt_name: Prompt = ...,
        prompt: Prompt = ...,
        **options: Unpack[EncodeArguments],
    ) -> EncodedMany: ...


class EncodeStream(Protocol):
    """`encode_stream` of `SentenceEncoder`."""

    @overload
    def __call__(
        self, sentences: Iterable[str], *, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Generator[Matrix[np.float32]]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Generator[Matrix[np.float32]]: ...
    @overload
    def __call__(
        self, sentences: Iterable[str], *, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Generator[Matrix[np.int8]]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Generator[Matrix[np.int8]]: ...
    @overload
    def __call__(
        self, sentences: Iterable[str], *, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Generator[Matrix[np.uint8]]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Generator[Matrix[np.uint8]]: ...
    @overload
    def __call__(
        self, sentences: Iterable[str], *, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> Generator[Tensor]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> Generator[Tensor]: ...
    @overload
    def __call__(
        self, sentences: Iterable[str], *, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> Generator[list[Tensor]]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> Generator[list[Tensor]]: ...
    @overload
    def __call__(
        self, sentences: Iterable[str], *, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> Generator[list[Tensor] | list[Matrix[np.float32]]]: ...
    @overload
    def __call__(
        self, *, inputs: Iterable[str], prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> Generator[list[Tensor] | list[Matrix[np.float32]]]: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: Prompt = ...,
        prompt: Prompt = ...,
        **options: Unpack[EncodeArguments],
    ) -> Generator[EncodedMany]: ...
    @overload
    def __call__(
        self,
        *,
        inputs: Iterable[str],
        prompt_name: Prompt = ...,
        prompt: Prompt = ...,
        **options: Unpack[EncodeArguments],
    ) -> Generator[EncodedMany]: ...


def encode_signature(method: Callable[..., object]) -> Signed[Encode]:
    """Declare a method to have the overloads of `Encode`."""
    return cast("Signed[Encode]", method)


def stream_signature(method: Callable[..., object]) -> Signed[EncodeStream]:
    """Declare a method to have the overloads of `EncodeStream`."""
    return cast("Signed[EncodeStream]", method)
