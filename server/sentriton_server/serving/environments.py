"""Removes the folder in /tmp that Triton's Python backend creates for Python environments.

A killed Triton leaves it there. $TMPDIR has no effect on its place (Triton 24.10).
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from pathlib import Path

from sentriton_server.private_folder import is_own

_PARENT, _PATTERN = Path("/tmp"), "python_env_*"


class Environments:
    """The folders that appear while a Triton starts. If several start at once, this includes the folders of all. The
    guard process reads their names from the file `record` after its launcher was killed.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._earlier = _folders()
        self._appeared: set[Path] = set()

    def note(self) -> None:
        """Record the folders that have appeared so far. Called until the first stub runs."""
        self._appeared = _folders() - self._earlier
        with contextlib.suppress(OSError):  # a full disk, or another program removed the scratch folder
            self._record.write_text("".join(f"{folder}\n" for folder in sorted(self._appeared)))

    def remove(self) -> None:
        """Remove the folders after Triton has ended. A folder in use is not empty and stays."""
        _remove_empty(self._appeared)
        with contextlib.suppress(OSError):
            self._record.unlink()


def remove_recorded(record: Path) -> None:
    """Remove the recorded folders of a Triton whose launcher was killed."""
    with contextlib.suppress(OSError, ValueError):
        _remove_empty(map(Path, record.read_text().splitlines()))


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _folders() -> set[Path]:
    return {folder for folder in _PARENT.glob(_PATTERN) if is_own(folder, stat.S_ISDIR)}
