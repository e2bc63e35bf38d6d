"""The error of a checkpoint that cannot be served. It also replaces the errors of libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentriton.errors import SentritonError
from sentriton_server.encoder import UnsupportedEncoder

_MAX_REASON_LETTERS = 400
_MISSING_WORDS = "need to install|requires the|is not installed"  # of transformers


class CheckpointError(SentritonError, ValueError):
    """The checkpoint does not exist, or has a part that cannot be served."""


@contextmanager
def refusals_of(
    source: str | Path, *, task: str = "serve", passing: tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    """Convert any error inside to a `CheckpointError` that names `source` and has the error as its cause. `task` is
    the verb of the message.

    For a damaged checkpoint, libraries raise errors of nearly every class. Interrupts, the project's other errors and
    the classes in `passing` stay unchanged.
    """
    try:
        yield
    except passing:
        raise
    except (CheckpointError, UnsupportedEncoder) as error:
        raise CheckpointError(f"cannot {task} checkpoint {source}: {error}") from error
    except SentritonError:
        raise
    except MemoryError as error:
        raise CheckpointError(
            f"cannot load checkpoint {source}: this machine has too little memory for it; use one with more"
        ) from error
    except BaseException as error:
        # A panic in the tokenizers library is not an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        repair = "repair it so that SentenceTransformer can load it and encode with it"
        remedy = "install this package" if is_missing_package(error) else repair
        raise CheckpointError(f"cannot load checkpoint {source}: {_reason(error)}; {remedy}") from error


def is_missing_package(error: BaseException) -> bool:
    """Whether a package is missing. Other import errors tell of one that is damaged or has another version."""
    if isinstance(error, ModuleNotFoundError) and error.name:  # transformers' own errors have no name
        return True
    return isinstance(error, ImportError) and re.search(_MISSING_WORDS, str(error)) is not None


def _reason(error: BaseException) -> str:
    """The class and the message of an error on one line."""
    text = " ".join(str(error).split()).rstrip(".;")
    shown = text if len(text) <= _MAX_REASON_LETTERS else f"{text[:_MAX_REASON_LETTERS]} …"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
