"""Files kept between runs, named by their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """`$SENTRITON_CACHE`, else `sentriton` below `$XDG_CACHE_HOME` or `~/.cache`."""
    if configured := os.environ.get("SENTRITON_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sentriton"


def cached(sha256: str, fetch: Callable[[], bytes]) -> bytes:
    """The content with this sha256 (hex): from the cache, else from `fetch` and then kept.

    A cache that cannot be read or written costs a fetch and nothing more. Raises ValueError when what `fetch` gives
    has another sha256.
    """
    path = cache_folder() / "assets" / sha256
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    content = fetch()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"the content has sha256 {found}, announced was {sha256}")
    with contextlib.suppress(OSError):
        _write(path, content)
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and moved: another process never sees half a file.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
        scratch.write(content)
    Path(scratch.name).replace(path)
