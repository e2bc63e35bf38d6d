"""The file that exists while the server is ready, for readiness probes."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

from sentriton.declaration import name_of
from sentriton_server.serving.errors import LaunchError
from sentriton_server.settings import ServeSettings

# No file, a link, a socket, or a file system without locks. Another error does not say that no launcher has the lock.
_UNLOCKED = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


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
        self._remove(self._draft)
        self._unlock()
        self._written = FileIO(self._draft, "x")
        # A file system without locks. Or another launcher removes this draft: then its replacement fails below.
        with suppress(OSError):
            fcntl.flock(self._written, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._written.write(f"{url}\n".encode())
        self._draft.replace(self.path)

    def remove(self) -> None:
        """Remove the file and the rest of an interrupted `write`, unless they belong to another launcher that runs.
        Raises `OSError`.
        """
        self._remove(self.path)
        self._remove(self._draft)
        self._unlock()

    def _remove(self, path: Path) -> None:
        try:
            found = path.lstat()
        except FileNotFoundError:
            return
        # The own file is removed even where it cannot be opened, since this server is ready no more.
        own = self._written is not None and os.path.samestat(found, os.fstat(self._written.fileno()))
        if own or not _is_locked(path):
            path.unlink(missing_ok=True)

    def _unlock(self) -> None:
        if self._written is not None:
            self._written.close()
            self._written = None


def _is_locked(path: Path) -> bool:
    """Whether a launcher has locked the file. Raises `OSError` if that is unknown.

    If a launcher replaces the file after this answer, its supervisor writes it again after the next canary.
    """
    try:
        # Without waiting for a named pipe, or locking the target of a link.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(file)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _UNLOCKED:
            raise
    return False


def check_ready_file(settings: ServeSettings) -> None:
    """Raises `LaunchError` if the ready file cannot be written."""
    file = settings.ready_file
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK)):
        name = name_of(settings, "ready_file")
        raise LaunchError(f"{name} {file} cannot be written; name a file in a folder that exists and is writable")
