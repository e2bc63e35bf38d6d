"""`serve CHECKPOINT` exports in a process that takes torch with it, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from sentriton.cache import cache_folder
from sentriton_server.export_cache import EXPORTS, entries, remove
from tests.checkpoints import make_checkpoint
from tests.ports import FREE_PORT_FLAGS
from tests.server.serve_command import running, serve, wait_until_gone


@pytest.fixture
def checkpoint(own_cache: Path, tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)


@contextmanager
def exporting(checkpoint: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A `serve` in the middle of an export, and the process of the export."""
    process = serve(checkpoint, "--precision", "fp32", *FREE_PORT_FLAGS)
    try:
        assert process.stderr is not None
        assert any(line.startswith("embedding") for line in process.stderr)
        (child,) = psutil.Process(process.pid).children()
        yield process, child
    finally:
        process.kill()
        process.communicate()


def test_a_launcher_that_has_exported_is_without_torch(checkpoint: Path) -> None:
    with running(checkpoint, "--precision", "fp32") as (process, _, processes):
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
        assert not [one for one in processes if one.ppid() == process.pid and "export_process" in str(one.cmdline())]
        (export,) = entries([EXPORTS])
        assert not remove(export), "the launcher must hold the export that its process has made"


def test_an_interrupt_ends_an_export(checkpoint: Path) -> None:
    with exporting(checkpoint) as (process, child):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert errors.splitlines()[-1] == "stopping"
        assert "Traceback" not in errors
        assert not child.is_running()
        assert not [*(cache_folder() / EXPORTS).glob("*")]


def test_an_export_ends_with_a_launcher_that_is_killed(checkpoint: Path) -> None:
    with exporting(checkpoint) as (process, child):
        process.kill()
        assert not wait_until_gone([child], 30)
        assert not [*(cache_folder() / EXPORTS).glob("*")]


def test_an_export_that_is_killed_is_an_error_of_one_sentence(checkpoint: Path) -> None:
    with exporting(checkpoint) as (process, child):
        os.kill(child.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert errors.splitlines()[-1].startswith("error: the export was ended by signal 9; if memory was short")
