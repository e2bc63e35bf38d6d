"""FILE.partial.json names the run whose rows are in FILE.partial. Only the same run may resume."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from sentriton.errors import InvalidInput

if sys.platform != "win32":
    import fcntl


class PartialRun:
    """The exclusive right to write FILE while the context is open, by a file lock on FILE.partial.json."""

    def __init__(self, output: Path) -> None:
        self.rows_path = output.with_name(output.name + ".partial")
        self.state_path = output.with_name(output.name + ".partial.json")
        self._output = output

    def __enter__(self) -> PartialRun:
        """Raises `InvalidInput` if another process writes this output, and OSError if the output cannot be written."""
        descriptor = os.open(self.state_path, os.O_RDWR | os.O_CREAT, 0o666)
        self._file = os.fdopen(descriptor, "r+", encoding="utf-8")
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A run that has just ended may have removed the file.
                locked = os.fstat(descriptor).st_nlink > 0
            except BlockingIOError:
                locked = False
            if not locked:
                self._file.close()
                raise InvalidInput(f"another process is writing {self._output}; wait for it or stop it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A run without rows leaves nothing behind.
        if not self.rows_path.exists():
            self.state_path.unlink(missing_ok=True)
        self._file.close()

    def begin(self, identity: dict[str, Any], *, restart: bool, resumable: bool) -> None:
        """Keep the rows in FILE.partial of the run that `identity` describes. Remove them for `restart`, or if a run is
        not `resumable`. Raises `InvalidInput` with the differences if they belong to another run.
        """
        found = self._read()
        if not restart and self.rows_path.exists():
            self._compare(found, identity)
        if restart or not resumable:
            self.discard()
        if found == identity:
            return
        self._file.seek(0)
        self._file.truncate()
        json.dump(identity, self._file, indent=2)
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        if self.rows_path.is_dir():
            shutil.rmtree(self.rows_path)
        else:
            self.rows_path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        self._file.seek(0)
        try:
            found = json.loads(self._file.read())
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _compare(self, found: dict[str, Any], identity: dict[str, Any]) -> None:
        advice = "give --restart to replace it, or another --output"
        if not found:
            raise InvalidInput(f"{self.rows_path} exists, but its run is unknown; {advice}")
        differences = [
            f"{name} was {found.get(name)!r} and is {identity.get(name)!r}"
            for name in {**identity, **found}
            if found.get(name) != identity.get(name)
        ]
        if differences:
            raise InvalidInput(f"{self.rows_path} is from another run: {'; '.join(differences)}; {advice}")
