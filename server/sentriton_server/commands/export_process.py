"""The process in which `sentriton serve` exports a checkpoint: torch, and the memory that it takes, end with it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from sentriton.errors import SentritonError
from sentriton_server.commands.terminal import catch_signals, say
from sentriton_server.killed import wait_for_killed
from sentriton_server.settings import ExportSettings

_EXIT_S = 5.0  # for its folders to go, before it is killed
_END_S = 30.0  # for the end of a process with torch, after its last line
# Without the current folder, whose modules are not the server's.
_PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from sentriton_server.commands.export_process import main; main(*sys.argv[1:])"
)


def repository_for(source: str | None, exports: ExportSettings) -> Path:
    """The result of `prepare_repository`, or its error. A process that ends with this one exports a checkpoint."""
    from sentriton_server.export_cache import hold
    from sentriton_server.serving.source import is_repository, prepare_repository

    if is_repository(source):
        return prepare_repository(source, **dataclasses.asdict(exports), say=say)
    ours, its = socket.socketpair()
    with ours:
        with its:
            given = json.dumps([source, dataclasses.asdict(exports)])
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, given, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                # Ctrl-C in the terminal is for `serve`, which ends this process.
                start_new_session=True,
            )
        try:
            answer = b"".join(iter(partial(ours.recv, 1 << 16), b""))
            if answer:
                repository: Path | Exception = pickle.loads(answer)
                if isinstance(repository, Exception):
                    raise repository
                # Before its process lets it go: another one could remove it.
                hold(repository)
                return repository
            with contextlib.suppress(subprocess.TimeoutExpired):  # it is about to end
                process.wait(_END_S)
        finally:
            code = _stop(process)
    raise _end_of(code)


def main(given: str, descriptor: str) -> NoReturn:
    """The process itself. It answers on a socket and stays until it is ended, or the other end is closed."""
    catch_signals()
    parent, answered = socket.socket(fileno=int(descriptor)), threading.Event()
    threading.Thread(target=_end_with, args=(parent, answered), daemon=True).start()
    source, exports = json.loads(given)
    try:
        answer = pickle.dumps(_prepared(source, exports))
        answered.set()
        with contextlib.suppress(OSError):  # it has gone
            parent.sendall(answer)
            parent.shutdown(socket.SHUT_WR)
            signal.pause()
    except KeyboardInterrupt:
        pass
    # At once: nothing is left to clean up, and torch takes its time.
    os._exit(0 if answered.is_set() else 130)


def _prepared(source: str | None, exports: dict[str, object]) -> Path | Exception:
    """The repository, or the error for `serve` to raise. Other errors are faults, which end in a traceback."""
    try:
        from sentriton_server.serving.source import prepare_repository

        return prepare_repository(source, **exports, say=say)  # type: ignore[arg-type]
    except SentritonError as error:
        return SentritonError(str(error))  # its own class would import torch
    except (OSError, ModuleNotFoundError) as error:
        return error


def _end_with(parent: socket.socket, answered: threading.Event) -> None:
    """Ends this process once its parent has ended."""
    with contextlib.suppress(OSError):
        parent.recv(1)
    if answered.is_set():
        os._exit(0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_EXIT_S)
    os.killpg(0, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End the process. Returns its exit code."""
    process.terminate()
    try:
        return process.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the compiler, if it runs
        return wait_for_killed(process, "the export")


def _end_of(code: int) -> SentritonError:
    if code < 0:
        return SentritonError(
            f"the export was ended by signal {-code}; if memory was short (dmesg tells), use a machine with more of it"
        )
    return SentritonError(f"the export ended with exit code {code}, and the lines above have its error; report it")
