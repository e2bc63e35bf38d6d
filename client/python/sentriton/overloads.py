"""Which arguments of the `encode` methods give which type. `signatures` fills in the results of both encoders."""

# A string is an iterable of strings, and False is a bool: the first overload that fits is the one that counts.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import EncodeArguments as Options
    from sentriton.keywords import Sentences, Several, ToFloat32, ToInt8, ToTensor, ToTensors, ToTokens, ToUint8

    Prompt: TypeAlias = str | None
    Texts: TypeAlias = Iterable[str]

    class Prompts(TypedDict, total=False):
        prompt_name: Prompt
        prompt: Prompt

    class NamedToFloat32(ToFloat32, Prompts): ...

    class NamedToInt8(ToInt8, Prompts): ...

    class NamedToUint8(ToUint8, Prompts): ...

    class NamedToTensor(ToTensor, Prompts): ...

    class NamedToTensors(ToTensors, Prompts): ...

    class NamedToTokens(ToTokens, Prompts): ...

    class NamedOptions(Options, Prompts): ...


Given = TypeVar("Given", contravariant=True)
Float32One = TypeVar("Float32One", covariant=True)
Int8One = TypeVar("Int8One", covariant=True)
Uint8One = TypeVar("Uint8One", covariant=True)
Float32 = TypeVar("Float32", covariant=True)
Int8 = TypeVar("Int8", covariant=True)
Uint8 = TypeVar("Uint8", covariant=True)
OneTensor = TypeVar("OneTensor", covariant=True)
SeveralTensors = TypeVar("SeveralTensors", covariant=True)
TokensOne = TypeVar("TokensOne", covariant=True)
Tokens = TypeVar("Tokens", covariant=True)
AnyOne = TypeVar("AnyOne", covariant=True)
AnyMany = TypeVar("AnyMany", covariant=True)
Float32Either = TypeVar("Float32Either", covariant=True)
AnyEither = TypeVar("AnyEither", covariant=True)


class Encode(
    Protocol[
        Float32One,
        Int8One,
        Uint8One,
        Float32,
        Int8,
        Uint8,
        OneTensor,
        SeveralTensors,
        TokensOne,
        Tokens,
        AnyOne,
        AnyMany,
        Float32Either,
        AnyEither,
    ]
):
    """`encode`, `encode_query` and `encode_document`."""

    # `Several` excludes strings, so that `str | list[str]` gives both types; `Texts` includes them.
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Float32One: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedToFloat32]) -> Float32One: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Int8One: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedToInt8]) -> Int8One: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Uint8One: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedToUint8]) -> Uint8One: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> OneTensor: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedToTensor]) -> OneTensor: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> OneTensor: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedToTensors]) -> OneTensor: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> TokensOne: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedToTokens]) -> TokensOne: ...
    @overload
    def __call__(
        self, sentences: str, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[Options]
    ) -> AnyOne: ...
    @overload
    def __call__(self, *, inputs: str, **options: Unpack[NamedOptions]) -> AnyOne: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Float32: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedToFloat32]) -> Float32: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToInt8]
    ) -> Int8: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedToInt8]) -> Int8: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToUint8]
    ) -> Uint8: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedToUint8]) -> Uint8: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensor]
    ) -> OneTensor: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedToTensor]) -> OneTensor: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTensors]
    ) -> SeveralTensors: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedToTensors]) -> SeveralTensors: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToTokens]
    ) -> Tokens: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedToTokens]) -> Tokens: ...
    @overload
    def __call__(
        self, sentences: Several, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[Options]
    ) -> AnyMany: ...
    @overload
    def __call__(self, *, inputs: Several, **options: Unpack[NamedOptions]) -> AnyMany: ...
    @overload
    def __call__(
        self, sentences: Sentences, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Float32Either: ...
    @overload
    def __call__(self, *, inputs: Sentences, **options: Unpack[NamedToFloat32]) -> Float32Either: ...
    @overload
    def __call__(
        self, sentences: Sentences, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[Options]
    ) -> AnyEither: ...
    @overload
    def __call__(self, *, inputs: Sentences, **options: Unpack[NamedOptions]) -> AnyEither: ...
    @overload
    def __call__(
        self, sentences: Texts, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[ToFloat32]
    ) -> Float32: ...
    @overload
    def __call__(self, *, inputs: Texts, **options: Unpack[NamedToFloat32]) -> Float32: ...
    @overload
    def __call__(
        self, sentences: Texts, prompt_name: Prompt = ..., prompt: Prompt = ..., **options: Unpack[Options]
    ) -> AnyMany: ...
    @overload
    def __call__(self, *, inputs: Texts, **options: Unpack[NamedOptions]) -> AnyMany: ...


class EncodeStream(Protocol[Given, Float32, Int8, Uint8, OneTensor, SeveralTensors, Tokens, AnyMany]):
    """`encode_stream`."""

    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedToFloat32]) -> Float32: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedToFloat32]) -> Float32: ...
    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedToInt8]) -> Int8: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedToInt8]) -> Int8: ...
    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedToUint8]) -> Uint8: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedToUint8]) -> Uint8: ...
    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedToTensor]) -> OneTensor: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedToTensor]) -> OneTensor: ...
    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedToTensors]) -> SeveralTensors: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedToTensors]) -> SeveralTensors: ...
    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedToTokens]) -> Tokens: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedToTokens]) -> Tokens: ...
    @overload
    def __call__(self, sentences: Given, **options: Unpack[NamedOptions]) -> AnyMany: ...
    @overload
    def __call__(self, *, inputs: Given, **options: Unpack[NamedOptions]) -> AnyMany: ...
