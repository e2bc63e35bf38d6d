"""Triton's Python stubs among its child processes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil

from sentriton_server.serving.process import TritonProcess
from sentriton_server.serving.stub import PythonStub
from tests.waiting import until


@contextmanager
def child(folder: Path, *arguments: str) -> Iterator[psutil.Process]:
    """A process with the name of a stub, which waits."""
    program = shutil.copy(shutil.which("cat") or "", folder / "triton_python_backend_stub")
    process = subprocess.Popen(["stub", *arguments], executable=program, stdin=subprocess.PIPE)
    try:
        started = psutil.Process(process.pid)
        until(started.cmdline, 10, "the process has no arguments")  # Linux sets them last
        yield started
    finally:
        process.kill()
        process.communicate()


def test_a_stub_has_the_name_of_its_model_instance(tmp_path: Path) -> None:
    with child(tmp_path, "-", "encoder_0_0", "sentriton") as process:
        stub = PythonStub.of(process)
        assert stub is not None
        assert stub.name == "encoder_0_0"
        assert stub.is_alive()
        process.kill()
        until(lambda: not stub.is_alive(), 10, "the stub still runs")
        assert stub.was_killed()


def test_a_stub_whose_arguments_are_not_there_yet_is_named_later(tmp_path: Path) -> None:
    # It would keep the name `(process 123)`. Linux sets the arguments of a process after its name.
    with child(tmp_path) as process:
        assert PythonStub.of(process) is None


def test_a_stub_that_ended_before_it_was_seen_has_no_instance(tmp_path: Path) -> None:
    with child(tmp_path, "-", "encoder_0_0", "sentriton") as process:
        process.kill()
        until(lambda: process.status() == psutil.STATUS_ZOMBIE, 10, "the process still runs")
        stub = PythonStub.of(process)
        assert stub is not None
        assert stub.name == f"(process {process.pid})"
        assert not stub.is_alive()


def test_a_stub_that_ended_before_a_crash_is_named_with_it() -> None:
    # Both happen while the launcher looks at the stubs.
    triton = SimpleNamespace(exit_code=lambda: None, _crash=None, _unhealthy=None)

    class Stub:
        name, alive = "encoder_0_0", True

        def is_alive(self) -> bool:
            was_alive, self.alive, triton._crash = self.alive, False, 6
            return was_alive

    triton._stubs = {1: Stub()}
    reasons = [TritonProcess.what_ended(triton) for _ in range(2)]  # type: ignore[arg-type]
    assert reasons == [None, "Triton crashed (signal 6); its Python stub encoder_0_0 had ended"]


def test_other_children_of_triton_are_no_stubs() -> None:
    assert PythonStub.of(psutil.Process()) is None
