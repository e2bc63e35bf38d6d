"""Caches files, named by their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from sentriton.declaration import resolve
from sentriton.errors import InvalidInput
from sentriton.settings import CacheSettings


class NoHomeFolder(InvalidInput):
    """The cache has no place."""


def cache_folder() -> Path:
    """`$SENTRITON_CACHE` if set, else the folder `sentriton` in `$XDG_CACHE_HOME` or `~/.cache`."""
    configured = resolve(CacheSettings).cache
    try:
        return configured or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sentriton"
    except RuntimeError:
        raise NoHomeFolder("the user has no home folder; set $SENTRITON_CACHE to a folder for the cache") from None


def kept(sha256: str) -> bytes | None:
    """The content with this sha256 (hex) if it is kept and whole."""
    with contextlib.suppress(OSError, NoHomeFolder):
        content = _path(sha256).read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    return None


def keep(sha256: str, content: bytes) -> None:
    """Store content for `kept` if the folder is writable. Raises ValueError for another sha256."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"the content has sha256 {found}, expected {sha256}")
    with contextlib.suppress(OSError, NoHomeFolder):
        path = _path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written to a temporary file and moved, so no process reads half a file.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
            scratch.write(content)
        Path(scratch.name).replace(path)


def _path(sha256: str) -> Path:
    return cache_folder() / "assets" / sha256
