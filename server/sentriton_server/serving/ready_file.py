"""The file that exists while the server is ready, for readiness probes."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

from sentriton.declaration import name_of
from sentriton_server.serving.errors import LaunchError
from sentriton_server.settings import ServeSettings


class ReadyFile:
    """A file with the server's address and a newline. Its reader finds all of it or no file.

    The launcher that wrote it holds its lock. The lock ends with the launcher, even a killed one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f"{path.name}.draft")
        self._written: FileIO | None = None

    def write(self, url: str) -> None:
        """Create the file, or replace it. Raises `OSError`."""
        self._unlock()
        _remove_unlocked(self._draft)
        self._written = FileIO(self._draft, "x")
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._written, fcntl.LOCK_EX)
        self._written.write(f"{url}\n".encode())
        self._draft.replace(self.path)

    def remove(self) -> None:
        """Remove the file and the rest of an interrupted `write`, unless they belong to another launcher that runs.
        Raises `OSError`.
        """
        self._unlock()
        _remove_unlocked(self.path)
        _remove_unlocked(self._draft)

    def _unlock(self) -> None:
        if self._written is not None:
            self._written.close()


def _remove_unlocked(path: Path) -> None:
    """Remove a file that no launcher has locked. If one replaces the file at this moment, its supervisor writes the
    file again after the next canary.
    """
    try:
        # Without waiting for a named pipe, or locking the target of a link.
        with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:  # no file, or one that has no lock
        pass
    path.unlink(missing_ok=True)


def check_ready_file(settings: ServeSettings) -> None:
    """Raises `LaunchError` if the ready file cannot be written."""
    file = settings.ready_file
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK)):
        name = name_of(settings, "ready_file")
        raise LaunchError(f"{name} {file} cannot be written; name a file in a folder that exists and is writable")
