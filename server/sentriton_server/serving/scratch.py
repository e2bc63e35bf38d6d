"""What a Triton needs on disk and in shared memory while it runs, and that none of it stays when it ends, however it
ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "sentriton-"
_LOCK = "lock"

# Its input ends when the launcher dies: then it does what the launcher cannot do any more. No "--" before the group's
# id: Debian's sh takes it for a number.
_GUARD = """
read -r triton
read -r nothing
if [ -n "$triton" ]; then
    kill -TERM "$triton"
    while kill -0 "$triton" && [ "$1" -gt 0 ]; do sleep 1; set -- $(($1 - 1)) "$2" "$3"; done
    kill -KILL "-$triton"
fi
rm -rf -- "$2" "$3"*
"""


class Scratch:
    """A private folder and a prefix for the names of the stubs' shared memory, watched over by a process of its own: it
    ends Triton and removes both when the launcher is killed.
    """

    def __init__(self, exit_timeout_s: int) -> None:
        remove_stale()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self.shared_memory_prefix = f"{self.folder.name}_"
        # Held by this process and the guard: whoever can take it knows that both are gone.
        self._lock = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        regions = SHARED_MEMORY / self.shared_memory_prefix
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sentriton-guard", str(exit_timeout_s), str(self.folder), str(regions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._lock],
            start_new_session=True,
        )

    def guard(self, pid: int) -> None:
        """Name the Triton, leader of its process group, that must not outlive the launcher."""
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{pid}\n".encode())
        self._guard.stdin.flush()

    def remove(self) -> None:
        """Triton has ended: take everything away."""
        _remove(self.folder)
        # The guard must not act on a process id that somebody else may have by now.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait()
        if self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
        with contextlib.suppress(OSError):
            os.close(self._lock)


def remove_stale() -> None:
    """Remove what servers left behind whose launcher and guard were both killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    for region in SHARED_MEMORY.glob(f"{folder.name}_*"):
        region.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
