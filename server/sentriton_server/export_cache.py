"""Manages the cache folder: exports of `serve`, compiled operators, tokenizers and data sets. A process locks the
export that it uses, so that no other process removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sentriton.cache import cache_folder
from sentriton_server.private_folder import private_folder

EXPORTS = "repositories"
# The kind of the entries in each folder of the cache.
KINDS = {EXPORTS: "export", "operators": "operators", "assets": "tokenizer", "data": "data set"}
# The cache's own names. Files with other names are not the cache's.
_NAMES = {EXPORTS: ".+-[0-9a-f]{16}", "operators": "[0-9a-f]{16}", "assets": "[0-9a-f]{64}", "data": "[^.].*"}
KEPT_EXPORTS = 10
KEPT_DAYS = 7.0
_DAY_S = 86_400.0
_held: dict[tuple[int, int], int] = {}  # descriptors by device and inode, open until the process ends


@dataclass(frozen=True)
class Entry:
    """A folder or a file of the cache. `used` is the time of its creation or last use, in seconds since the epoch."""

    kind: str
    path: Path
    size: int
    used: float

    def __str__(self) -> str:
        used = f"{datetime.fromtimestamp(self.used):%Y-%m-%d %H:%M}"
        return f"{self.kind} {self.path.name} ({self.size / 1e6:,.1f} MB, last used {used})"


def entries(folders: Iterable[str] = tuple(KINDS)) -> list[Entry]:
    """All entries in these folders of the cache, most recently used first."""
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in (cache_folder() / folder).iterdir():
                if re.fullmatch(_NAMES[folder], path.name):
                    found.append(Entry(KINDS[folder], path, _size(path), path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def hold(export: Path) -> bool:
    """Lock an export until this process ends. False if another process has just removed it."""
    try:
        descriptor = os.open(export, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino)
    with contextlib.suppress(FileNotFoundError):
        if (found := export.stat()) and (found.st_dev, found.st_ino) == key:
            with contextlib.suppress(PermissionError):  # a read-only cache
                os.utime(export)
            if (earlier := _held.pop(key, None)) is not None:
                os.close(earlier)
            _held[key] = descriptor
            return True
    os.close(descriptor)
    return False


def remove(entry: Entry) -> bool:
    """Remove an entry. False if a process uses it."""
    if not entry.path.is_dir():
        entry.path.unlink(missing_ok=True)
        return True
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with private_folder(entry.path.parent, ".removed-") as folder:
            entry.path.rename(folder / entry.path.name)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def prune(say: Callable[[str], None]) -> None:
    """Remove exports that are not among the `KEPT_EXPORTS` newest and were not used for `KEPT_DAYS`."""
    for entry in entries([EXPORTS])[KEPT_EXPORTS:]:
        if time.time() - entry.used > KEPT_DAYS * _DAY_S:
            with contextlib.suppress(OSError):
                if remove(entry):
                    say(f"removed the {entry}: the cache keeps {KEPT_EXPORTS} exports, and those of {KEPT_DAYS:g} days")


def older_than(days: float, found: list[Entry]) -> list[Entry]:
    """The entries that were not used for this number of days."""
    return [entry for entry in found if time.time() - entry.used >= days * _DAY_S]


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    size = 0
    for file in files:
        with contextlib.suppress(OSError):  # removed meanwhile
            size += file.stat().st_size if file.is_file() else 0
    return size
