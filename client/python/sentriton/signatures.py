"""Decorators that declare the overloads of the encoders' methods, with values or coroutines.

These are classes, because pyright reports the unknown tensors in an alias to users without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable
    from typing import TypeAlias

    import numpy as np
    from torch import Tensor

    from sentriton.keywords import AsyncSentences, EncodedMany, EncodedOne, Matrix, Vector
    from sentriton.overloads import Encode, EncodeStream

    Value = TypeVar("Value")
    Later: TypeAlias = Coroutine[Any, Any, Value]
    Tokens: TypeAlias = list[Tensor] | list[Matrix[np.float32]]

    class BlockingEncode(
        Encode[
            Vector[np.float32],
            Vector[np.int8],
            Vector[np.uint8],
            Matrix[np.float32],
            Matrix[np.int8],
            Matrix[np.uint8],
            Tensor,
            list[Tensor],
            Tokens,
            EncodedOne,
            EncodedMany,
        ],
        Protocol,
    ):
        """`Encode` of `SentenceEncoder`."""

    class AsyncEncode(
        Encode[
            Later[Vector[np.float32]],
            Later[Vector[np.int8]],
            Later[Vector[np.uint8]],
            Later[Matrix[np.float32]],
            Later[Matrix[np.int8]],
            Later[Matrix[np.uint8]],
            Later[Tensor],
            Later[list[Tensor]],
            Later[Tokens],
            Later[EncodedOne],
            Later[EncodedMany],
        ],
        Protocol,
    ):
        """`Encode` of `AsyncSentenceEncoder`."""

    class BlockingStream(
        EncodeStream[
            Iterable[str],
            Generator[Matrix[np.float32]],
            Generator[Matrix[np.int8]],
            Generator[Matrix[np.uint8]],
            Generator[Tensor],
            Generator[list[Tensor]],
            Generator[Tokens],
            Generator[EncodedMany],
        ],
        Protocol,
    ):
        """`EncodeStream` of `SentenceEncoder`."""

    class AsyncStream(
        EncodeStream[
            AsyncSentences,
            AsyncGenerator[Matrix[np.float32]],
            AsyncGenerator[Matrix[np.int8]],
            AsyncGenerator[Matrix[np.uint8]],
            AsyncGenerator[Tensor],
            AsyncGenerator[list[Tensor]],
            AsyncGenerator[Tokens],
            AsyncGenerator[EncodedMany],
        ],
        Protocol,
    ):
        """`EncodeStream` of `AsyncSentenceEncoder`."""


Signature = TypeVar("Signature", covariant=True)


class Signed(Protocol[Signature]):
    """A method that type checkers see as `Signature`. At run time it is the method."""

    def __get__(self, instance: object, owner: type | None = None) -> Signature: ...


class Declares(Protocol[Signature]):
    """Decorates a method, which type checkers see as `Signature`."""

    def __call__(self, method: Callable[..., object]) -> Signed[Signature]: ...


def as_it_is(method: Any) -> Any:
    return method


encode_signature: Declares[BlockingEncode] = as_it_is
stream_signature: Declares[BlockingStream] = as_it_is
async_encode_signature: Declares[AsyncEncode] = as_it_is
async_stream_signature: Declares[AsyncStream] = as_it_is
