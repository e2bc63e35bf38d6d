"""The folder in /tmp that Triton's Python backend makes for Python environments, and leaves there when it is killed.
Its place is fixed: no $TMPDIR moves it (Triton 24.10).
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from pathlib import Path

from sentriton_server.private_folder import is_own

_PARENT, _PATTERN = Path("/tmp"), "python_env_*"


class Environments:
    """The folders that appear from now on, while one Triton starts. If several start at once, these are the folders of
    all. The file `record` names them to the process that cleans up after a killed launcher.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._earlier = _folders()
        self._appeared: set[Path] = set()

    def note(self) -> None:
        """Remember the folders that have appeared so far. Called until the first stub runs."""
        self._appeared = _folders() - self._earlier
        with contextlib.suppress(OSError):  # a full disk, or the scratch folder was tidied away
            self._record.write_text("".join(f"{folder}\n" for folder in sorted(self._appeared)))

    def remove(self) -> None:
        """Triton has ended: remove its folders. A folder that is in use is not empty, and stays."""
        _remove_empty(self._appeared)
        with contextlib.suppress(OSError):
            self._record.unlink()


def remove_recorded(record: Path) -> None:
    """Remove the folders of a Triton whose launcher was killed."""
    with contextlib.suppress(OSError, ValueError):
        _remove_empty(map(Path, record.read_text().splitlines()))


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _folders() -> set[Path]:
    return {folder for folder in _PARENT.glob(_PATTERN) if is_own(folder, stat.S_ISDIR)}
