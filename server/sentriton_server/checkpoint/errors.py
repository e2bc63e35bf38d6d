"""The error of a checkpoint that cannot be served, also for the errors that libraries raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentriton.errors import SentritonError
from sentriton_server.encoder import UnsupportedEncoder

_MAX_REASON_LETTERS = 400


class CheckpointError(SentritonError, ValueError):
    """The checkpoint is not there, or holds something that cannot be served."""


@contextmanager
def refusals_of(source: str | Path, *, passing: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Turn any error inside into a `CheckpointError` that names `source`; its cause is the error.

    For a damaged checkpoint, libraries raise errors of nearly every class. Interrupts pass unchanged, and so do the
    project's other errors and those of the classes in `passing`.
    """
    try:
        yield
    except passing:
        raise
    except (CheckpointError, UnsupportedEncoder) as error:
        raise CheckpointError(f"cannot serve checkpoint {source}: {error}") from error
    except SentritonError:
        raise
    except MemoryError as error:
        raise CheckpointError(
            f"cannot load checkpoint {source}: this machine has too little memory for it; use one with more"
        ) from error
    except BaseException as error:
        # A panic inside the tokenizers library is not an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(
            f"cannot load checkpoint {source}: {_reason(error)}; "
            "repair it until SentenceTransformer loads it and encodes with it"
        ) from error


def _reason(error: BaseException) -> str:
    """Class and text of an error on one line."""
    text = " ".join(str(error).split()).rstrip(".;")
    shown = text if len(text) <= _MAX_REASON_LETTERS else f"{text[:_MAX_REASON_LETTERS]} …"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
