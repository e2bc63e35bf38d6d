"""Triton's temporary files on disk and in shared memory. They are removed after its end, even after a crash."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

from sentriton_server.killed import wait_for_killed
from sentriton_server.private_folder import PrivateFolder, is_own, remove_abandoned
from sentriton_server.serving.environments import remove_recorded

SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "sentriton-"
_ENVIRONMENTS = "environments"
# Triton starts its stubs by a shell, without quotation marks, and their Python may take paths for ASCII.
_PLAIN_PATH = re.compile(r"[\w/.,:@%+=-]+", re.ASCII)

# The guard's input has a line with the process id of each started Triton, and an empty line for each end. The input
# itself ends when the launcher dies. Then the guard cleans up after the last Triton. Debian's sh accepts no "--" before
# the group's id. The regions' prefix has no character that the shell could read as a pattern.
_GUARD = """
while read -r pid; do triton=$pid; done
if [ -n "$triton" ]; then
    kill -TERM "$triton"
    while kill -0 "$triton" && [ "$1" -gt 0 ]; do sleep 1; set -- $(($1 - 1)) "$2" "$3"; done
    kill -KILL "-$triton"
fi
if [ -f "$2/environments" ]; then
    while read -r folder; do rmdir -- "$folder"; done < "$2/environments"
fi
rm -f -- "$3"*
rm -rf -- "$2"
"""
# A shell writes its process id to the guard and then becomes the command. So the guard knows the id before the command
# runs, even if the launcher is killed meanwhile.
_GUARDED = 'echo "$$" >&0 && exec "$0" "$@" </dev/null'


class Scratch:
    """A private folder, and a name prefix for the stubs' shared memory. If the launcher is killed, a guard process ends
    Triton and removes both.

    All Tritons of a launcher share one folder, so that a restart needs no space on a disk that has become full.
    """

    def __init__(self, exit_timeout_s: int) -> None:
        remove_stale()
        self._exit_timeout_s = exit_timeout_s
        # Locked by this process and the guard: a process that gets the lock knows that both are gone.
        self._private = PrivateFolder(_parent(), _PREFIX)
        self.folder = self._private.path
        self.shared_memory_prefix = f"{self.folder.name}_"
        # This file lists the folders that Triton creates elsewhere.
        self.environments = self.folder / _ENVIRONMENTS
        # Triton's current folder. It must be empty, because it is the first on the stubs' import path.
        self.empty = self.folder / "empty"
        try:
            self.empty.mkdir()
            self._guard = self._start_guard()
        except BaseException:
            self._private.close()
            raise

    @property
    def is_whole(self) -> bool:
        """Whether the folder still exists. Clean-up programs remove old folders."""
        return self.empty.is_dir()

    def plain(self, repository: Path) -> Path:
        """The path of `repository`, or of a link to it if a shell would read this path otherwise."""
        if _PLAIN_PATH.fullmatch(str(repository)):
            return repository
        link = self.folder / "repository"
        if not link.is_symlink():  # a restart needs no room
            link.symlink_to(repository)
        return link

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a process in a new group. The guard ends it if the launcher dies. `options` are those of Popen."""
        command = ["/bin/sh", "-c", _GUARDED, *command]
        return subprocess.Popen(command, stdin=self._living_guard(), start_new_session=True, text=True, **options)

    def forget(self) -> None:
        """Tell the guard that the process has ended, since another process may get its id."""
        with contextlib.suppress(BrokenPipeError):  # the guard was just killed; the next start replaces it
            guard = self._living_guard()
            guard.write(b"\n")
            guard.flush()

    def hide_shared_memory(self) -> None:
        """Make the stubs' shared memory private to this user. It has callers' texts and vectors, and Triton creates it
        readable for all users under any umask.
        """
        for region in _regions(self.folder):
            with contextlib.suppress(FileNotFoundError):
                region.chmod(0o600)

    def clear_shared_memory(self) -> None:
        """Remove the stubs' shared memory after Triton has ended."""
        _remove_regions(self.folder)

    def remove(self) -> None:
        """Remove everything after Triton has ended."""
        self.clear_shared_memory()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        try:
            self._close_guard()
        finally:
            self._private.close()

    def _living_guard(self) -> IO[bytes]:
        """The input of the guard. A killed guard is replaced."""
        if self._guard.poll() is not None:
            self._close_guard()
            self._guard = self._start_guard()
        assert self._guard.stdin is not None
        return self._guard.stdin

    def _start_guard(self) -> subprocess.Popen[bytes]:
        regions = SHARED_MEMORY / self.shared_memory_prefix
        return subprocess.Popen(
            ["sh", "-c", _GUARD, "sentriton-guard", str(self._exit_timeout_s), str(self.folder), str(regions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=[self._private.descriptor],
            start_new_session=True,
        )

    def _close_guard(self) -> None:
        wait_for_killed(self._guard, "the guard of Triton's files")
        if self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()


def _parent() -> Path:
    """$TMPDIR, or /tmp if a shell would read its path otherwise."""
    folder = tempfile.gettempdir()
    return Path(folder if _PLAIN_PATH.fullmatch(folder) else "/tmp")


def remove_stale() -> None:
    """Remove the remains of servers whose launcher and guard were both killed."""
    remove_abandoned(_parent(), _PREFIX, _remove)


def _remove(folder: Path) -> None:
    _remove_regions(folder)
    remove_recorded(folder / _ENVIRONMENTS)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_regions(folder: Path) -> None:
    for region in _regions(folder):
        region.unlink(missing_ok=True)


def _regions(folder: Path) -> list[Path]:
    """This user's shared memory that is named after a server's `folder`."""
    named = [region for region in SHARED_MEMORY.iterdir() if region.name.startswith(f"{folder.name}_")]
    return [region for region in named if is_own(region, stat.S_ISREG)]
