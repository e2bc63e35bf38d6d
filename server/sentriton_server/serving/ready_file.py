"""The file that exists while the server is ready, for readiness probes."""

from __future__ import annotations

import os
from pathlib import Path

from sentriton.declaration import name_of
from sentriton_server.serving.errors import LaunchError
from sentriton_server.settings import ServeSettings


class ReadyFile:
    """A file with the server's address and a newline. Its reader finds all of it or no file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f"{path.name}.draft")

    def write(self, url: str) -> None:
        """Create the file, or replace it. Raises `OSError`."""
        self._draft.unlink(missing_ok=True)  # of a killed launcher, or somebody's link
        with self._draft.open("x", encoding="utf-8") as draft:
            draft.write(f"{url}\n")
        self._draft.replace(self.path)

    def remove(self) -> None:
        """Remove the file and the rest of an interrupted `write`. Raises `OSError`."""
        self.path.unlink(missing_ok=True)
        self._draft.unlink(missing_ok=True)


def check_ready_file(settings: ServeSettings) -> None:
    """Raises `LaunchError` if the ready file cannot be written."""
    file = settings.ready_file
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK)):
        name = name_of(settings, "ready_file")
        raise LaunchError(f"{name} {file} cannot be written; name a file in a folder that exists and is writable")
