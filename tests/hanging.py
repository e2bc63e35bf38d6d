"""Lets processes hang as in a deadlock: the working thread stops, while the others continue.

SIGSTOP would stop all threads, including the heartbeat that Triton expects from a Python stub.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# linux/ptrace.h, linux/wait.h
_SEIZE, _INTERRUPT, _DETACH, _WAIT_ALL = 0x4206, 0x4207, 17, 0x40000000


@contextmanager
def unkillable(pid: int) -> Iterator[None]:
    """Let the parent of this process wait for ever after its SIGKILL, as if it waited in the kernel. A killed process
    that is traced ends for its tracer alone. It must be a descendant of this process, but no child.
    """
    _ptrace(_SEIZE, pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)  # the block may have failed before its kill
        os.waitpid(pid, _WAIT_ALL)  # now its parent sees its end


@contextmanager
def hanging_main_threads(pids: Iterable[int]) -> Iterator[None]:
    """Stop the main threads of these processes until the block ends; they must be descendants of this one."""
    # Only the thread that attached may detach, so one thread does both.
    pids = list(pids)
    for pid in pids:
        _ptrace(_SEIZE, pid)
        _ptrace(_INTERRUPT, pid)
        os.waitpid(pid, _WAIT_ALL)  # returns when it stands
    try:
        yield
    finally:
        for pid in pids:
            _ptrace(_DETACH, pid)


def _ptrace(request: int, pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace({request:#x}, {pid}): {os.strerror(error)}")
