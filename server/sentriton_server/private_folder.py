"""Private folders, locked by their process, so that other processes can remove the folders of ended processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_LOCK = "lock"
_RANDOM_SUFFIX = r"[a-z0-9_]{8}"  # as tempfile.mkdtemp appends it


class PrivateFolder:
    """A new folder `prefix` + 8 characters in `parent`, readable by this user alone and locked until `close`.

    The lock belongs to an open file (`descriptor`). Processes that inherit the descriptor hold the lock as well.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
            self.descriptor = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            # Another process may have removed the folder before it was locked.
            if self.path.exists():
                return
            os.close(self.descriptor)

    def close(self) -> None:
        """Remove the folder and release the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


@contextlib.contextmanager
def private_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A `PrivateFolder`, removed at the end. Folders of killed processes are removed first."""
    remove_abandoned(parent, prefix, lambda folder: shutil.rmtree(folder, ignore_errors=True))
    folder = PrivateFolder(parent, prefix)
    try:
        yield folder.path
    finally:
        folder.close()


def remove_abandoned(parent: Path, prefix: str, remove: Callable[[Path], None]) -> None:
    """Call `remove` with each abandoned `PrivateFolder` of this user in `parent`."""
    with contextlib.suppress(OSError):
        for folder in parent.iterdir():
            if re.fullmatch(re.escape(prefix) + _RANDOM_SUFFIX, folder.name):
                with contextlib.suppress(OSError):  # it has another owner, is in use, or was removed meanwhile
                    _remove_if_abandoned(folder, remove)


def is_own(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether `path` belongs to this user and has a `kind`, such as `stat.S_ISREG`. Links are not followed."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and kind(found.st_mode)


def _remove_if_abandoned(folder: Path, remove: Callable[[Path], None]) -> None:
    if not is_own(folder, stat.S_ISDIR):
        return
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder)
    finally:
        os.close(descriptor)
