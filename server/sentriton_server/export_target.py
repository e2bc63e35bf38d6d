"""Writes an export to a temporary folder, and moves it to its place after success."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sentriton_server.choices import ExportError
from sentriton_server.private_folder import private_folder
from sentriton_server.repository import MANIFEST, RepositoryError


@contextmanager
def draft_of(repository: Path, overwrite: bool) -> Iterator[Path]:
    """A folder that becomes `repository` after success and is removed after a failure. Raises `ExportError` if it
    cannot be written, and `RepositoryError` if another export was first.
    """
    try:
        with _parent_folder(repository), private_folder(repository.parent, ".export-") as scratch:
            draft = scratch / "repository"
            yield draft
            # Checked again: a server may already use an export that was written meanwhile, with another key.
            check_target(repository, overwrite)
            _put_in_place(draft, repository, scratch / "replaced" if overwrite else None)
    except OSError as error:
        raise ExportError(f"cannot write {repository}: {error.strerror or error}") from error


def _put_in_place(draft: Path, repository: Path, replaced: Path | None) -> None:
    """Move `draft` to `repository`. The former folder moves to `replaced`, and back if moving the draft fails. Without
    `replaced`, `repository` must be absent or an empty folder.
    """
    if replaced is None or not repository.exists():
        try:
            draft.rename(repository)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another export was first, since the last check
                check_target(repository, overwrite=False)
            raise
        return
    try:
        repository.rename(replaced)
        draft.rename(repository)
    except BaseException:
        with suppress(OSError):  # the former folder was not moved, or its place is taken
            replaced.rename(repository)
        raise


@contextmanager
def _parent_folder(repository: Path) -> Iterator[None]:
    """Create the folders above `repository`. If the export fails, the new ones are removed."""
    new = [folder for folder in repository.parents if not folder.exists()]
    repository.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another export is in it
            for folder in new:
                folder.rmdir()
        raise


def check_target(repository: Path, overwrite: bool) -> None:
    if not repository.exists() or (repository.is_dir() and not any(repository.iterdir())):
        return
    if not (repository / MANIFEST).is_file():
        raise RepositoryError(f"{repository} exists and is not an exported model repository; choose another folder")
    if not overwrite:
        raise RepositoryError(
            f"{repository} already contains an exported model; use --overwrite or choose another folder"
        )
