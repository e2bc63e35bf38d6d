"""The folder that an export is written to: another one until all went well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sentriton_server.choices import ExportError
from sentriton_server.private_folder import private_folder
from sentriton_server.repository import MANIFEST, RepositoryError


@contextmanager
def draft_of(repository: Path, overwrite: bool) -> Iterator[Path]:
    """A folder that becomes `repository` when all went well, and nothing when not. Raises `ExportError` if it cannot
    be written, and `RepositoryError` where another export was there first.
    """
    try:
        with _parent_folder(repository), private_folder(repository.parent, ".export-") as scratch:
            draft = scratch / "repository"
            yield draft
            # Again: a server may run from an export that came meanwhile, and each has a key of its own.
            check_target(repository, overwrite)
            _put_in_place(draft, repository, scratch / "replaced" if overwrite else None)
    except OSError as error:
        raise ExportError(f"cannot write {repository}: {error.strerror or error}") from error


def _put_in_place(draft: Path, repository: Path, replaced: Path | None) -> None:
    """Move `draft` to `repository`. The former folder moves to `replaced`, and back if the draft cannot be moved.
    Without `replaced`, `repository` must be absent or an empty folder.
    """
    if replaced is None or not repository.exists():
        draft.rename(repository)
        return
    try:
        repository.rename(replaced)
        draft.rename(repository)
    except BaseException:
        with suppress(OSError):  # it was not moved, or its place is taken
            replaced.rename(repository)
        raise


@contextmanager
def _parent_folder(repository: Path) -> Iterator[None]:
    """Make the folders above `repository`; those that are new go again when the export fails."""
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
