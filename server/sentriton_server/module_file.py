"""Writes a TorchScript module to a file, without a copy of its weights in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

# Copies standard input to a file. After an error it keeps reading, so that torch never gets a broken pipe.
_COPY = """
import os, sys
failed = 0
try:
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
except OSError as error:
    failed = error.errno
while block := os.read(0, 1 << 20):
    try:
        while block and not failed:
            block = block[os.write(file, block):]
    except OSError as error:
        failed = error.errno
try:
    failed or os.close(file)
except OSError as error:
    failed = error.errno
sys.exit(failed)
"""


def save_module(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write `module` to `path`. Raises `OSError` if it cannot be written.

    torch's writer aborts the process if the disk is full, and writing to a buffer takes three times the memory of the
    weights. So torch writes into a pipe, and another process copies the pipe to the file.
    """
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", _COPY, str(path)], stdin=subprocess.PIPE) as copy:
        assert copy.stdin is not None
        module.save(f"/proc/self/fd/{copy.stdin.fileno()}")
        copy.stdin.close()
    if copy.returncode != 0:
        raise _error(copy.returncode, path)


def _error(status: int, path: Path) -> OSError:
    if status > 0:
        return OSError(status, os.strerror(status), str(path))
    return OSError(f"the process that wrote {path} was ended by signal {-status}")
