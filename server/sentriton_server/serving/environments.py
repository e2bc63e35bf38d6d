"""The folder in /tmp that Triton's Python backend makes for Python environments, and leaves there when it is killed. It
does not depend on $TMPDIR (Triton 24.10).
"""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

from sentriton_server.private_folder import is_own

_PARENT, _PATTERN = Path("/tmp"), "python_env_*"


class Environments:
    """The folders that appear while one Triton starts, from here on; of several that start at once, those of all."""

    def __init__(self) -> None:
        self._earlier = _folders()
        self._appeared: set[Path] = set()

    def note(self) -> None:
        """Remember what has appeared so far. Called until the first stub runs."""
        self._appeared = _folders() - self._earlier

    def remove(self) -> None:
        """Triton has ended: remove what it left. A folder that is in use is not empty, and stays."""
        for folder in self._appeared:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _folders() -> set[Path]:
    return {folder for folder in _PARENT.glob(_PATTERN) if is_own(folder, stat.S_ISDIR)}
