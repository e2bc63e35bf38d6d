"""The file that exists while the server is ready."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.ready_file import ReadyFile, check_ready_file
from sentriton_server.settings import ServeSettings

URL = "127.0.0.1:8001"
WRITES = 1_000  # a reader in a loop meets some of the moments between creation and content


def test_no_reader_finds_an_empty_file(tmp_path: Path) -> None:
    file = ReadyFile(tmp_path / "ready")

    read = threading.Event()

    def write_often() -> None:
        for _ in range(WRITES):
            file.write(URL)
            assert read.wait(30)  # otherwise the reader might never meet the file, which exists for microseconds
            file.remove()

    found = set()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write_often)
        while not written.done():
            try:
                found.add(file.path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            read.set()
        written.result()
    assert found == {f"{URL}\n"}


def test_a_second_write_replaces_the_file(tmp_path: Path) -> None:
    file = ReadyFile(tmp_path / "ready")
    file.write("127.0.0.1:1")
    file.write(URL)
    assert file.path.read_text(encoding="utf-8") == f"{URL}\n"
    file.remove()


def test_only_the_server_that_wrote_it_removes_it(tmp_path: Path) -> None:
    first, second = ReadyFile(tmp_path / "ready"), ReadyFile(tmp_path / "ready")
    first.write("127.0.0.1:1")
    second.remove()  # as at the start of a server
    assert first.path.read_text(encoding="utf-8") == "127.0.0.1:1\n"
    second.write(URL)
    first.remove()
    assert first.path.read_text(encoding="utf-8") == f"{URL}\n"
    second.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_launcher_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    program = f"""
import os, signal
from pathlib import Path
from sentriton_server.serving.ready_file import ReadyFile
file = ReadyFile(Path({str(path)!r}))
file.write({URL!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert path.exists()
    ReadyFile(path).remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["pipe", "link"])
def test_another_kind_of_file_in_its_place_is_removed(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "ready")
    ReadyFile(tmp_path / "ready").remove()
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_its_draft_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "ready.draft").symlink_to(other)
    file = ReadyFile(tmp_path / "ready")
    file.write(URL)
    assert other.read_text() == "kept"
    assert not file.path.is_symlink()
    file.remove()


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    file = ReadyFile(tmp_path / "ready")
    file.remove()  # a file that does not exist
    file.write(URL)
    (tmp_path / "ready.draft").write_text("127.")  # a killed launcher left it
    file.remove()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open no further file inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_free_descriptor_only_the_own_file_is_removed(tmp_path: Path) -> None:
    first, second = ReadyFile(tmp_path / "ready"), ReadyFile(tmp_path / "ready")
    first.write(URL)
    with no_descriptors(), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        second.remove()
    assert first.path.exists()
    with no_descriptors():
        first.path.chmod(0)  # as with a strict umask
        first.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_its_place_costs_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "ready").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(IsADirectoryError):
        ReadyFile(tmp_path / "ready").remove()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.timeout(30)
def test_a_lock_that_another_process_has_does_not_block_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, lock = ReadyFile(tmp_path / "ready"), fcntl.flock
    other = []

    def lock_after_another(descriptor: object, operation: int) -> None:
        if operation & fcntl.LOCK_EX:  # at this moment, another launcher looks at the draft
            other.append((tmp_path / "ready.draft").open())
            lock(other[0], fcntl.LOCK_SH)
        lock(descriptor, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", lock_after_another)
    file.write(URL)
    other[0].close()
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_ready_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "none/ready"):
        with pytest.raises(LaunchError, match=f"^--ready-file {re.escape(str(file))} cannot be written; name a file"):
            check_ready_file(ServeSettings(ready_file=file))
    for allowed in (None, tmp_path / "ready"):
        check_ready_file(ServeSettings(ready_file=allowed))
