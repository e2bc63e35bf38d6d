"""No temporary file of a server outlives a killed launcher."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sentriton_server.serving.scratch import SHARED_MEMORY, Scratch, remove_stale
from tests.waiting import until

# Replaces Triton: SIGTERM ends the leader, and a child of its group stays, as a stub does that is still loading.
_LAUNCHER = """
import subprocess, sys, time
from sentriton_server.serving.scratch import Scratch

scratch = Scratch(exit_timeout_s=5)
scratch.environments.write_text(sys.argv[1] + "\\n")
triton = scratch.start(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
print(triton.pid, int(triton.stdout.readline()), scratch.folder, flush=True)
time.sleep(60)
"""


def test_a_killed_launcher_leaves_no_process_and_no_folder_of_triton(tmp_path: Path) -> None:
    environment = tmp_path / "python_env_AbCdEf"
    environment.mkdir()
    command = [sys.executable, "-c", _LAUNCHER, str(environment)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        leader, member, folder = launcher.stdout.readline().split()
        processes = [psutil.Process(int(leader)), psutil.Process(int(member))]
        launcher.kill()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not Path(folder).exists()
    assert not environment.exists()


@pytest.mark.parametrize("name", ["a b", "모델", "$(ls)", "a;b", "caf\udce9"])
def test_a_shell_gets_plain_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / name
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    scratch = Scratch(exit_timeout_s=1)
    try:
        assert scratch.folder.parent == Path("/tmp")
        assert scratch.plain(odd).parent == scratch.folder
        assert scratch.plain(odd).samefile(odd)
        assert scratch.plain(Path("/srv/a-b_c.1,2@3:4%5+6=7")) == Path("/srv/a-b_c.1,2@3:4%5+6=7")
    finally:
        scratch.remove()


_KILLED_AS_IT_STARTS = """
import os, signal, subprocess, sys, time
from sentriton_server.serving.scratch import Scratch

scratch = Scratch(exit_timeout_s=5)
print(scratch.start(["sleep", "60"]).pid, scratch.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_launcher_that_is_killed_as_it_starts_triton_leaves_none() -> None:
    """It does nothing more once Triton is started, so no moment is too early for its end."""
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AS_IT_STARTS], stdout=subprocess.PIPE, text=True, check=False
    )
    pid, folder = killed.stdout.split()
    until(lambda: not psutil.pid_exists(int(pid)), 20)
    until(lambda: not Path(folder).exists(), 20)


def test_the_name_of_a_folder_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = SHARED_MEMORY / "sentriton-victim00_region"
    victim.touch()
    try:
        for name in ("sentriton-*", "sentriton-????????", "sentriton-[a-z]", "sentriton-"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "lock").touch()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        remove_stale()
        assert victim.exists()
        assert len(list(tmp_path.iterdir())) == 4
    finally:
        victim.unlink(missing_ok=True)


def test_what_a_link_points_at_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, outside = tmp_path / "tmp", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "lock").touch()
    (folder / "sentriton-abcdefgh").symlink_to(outside)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    remove_stale()
    assert (outside / "lock").exists()


def test_a_guard_that_was_killed_is_replaced() -> None:
    others = set(psutil.Process().children())
    scratch = Scratch(exit_timeout_s=5)
    try:
        (guard,) = set(psutil.Process().children()) - others
        guard.kill()
        guard.wait(5)
        scratch.forget()
        assert [child.name() for child in set(psutil.Process().children()) - others - {guard}] == ["sh"]
    finally:
        scratch.remove()
    assert not scratch.folder.exists()
