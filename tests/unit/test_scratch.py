"""Nothing that a server needs while it runs outlives a launcher that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sentriton_server.serving.scratch import SHARED_MEMORY, Scratch, remove_stale

# Stands in for Triton: SIGTERM ends the leader, and a child of its group stays, as a stub does that is still loading.
_LAUNCHER = """
import subprocess, sys, time
from sentriton_server.serving.scratch import Scratch

scratch = Scratch(exit_timeout_s=5)
scratch.environments.write_text(sys.argv[1] + "\\n")
triton = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE)
scratch.guard(triton.pid)
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
        scratch.guard(None)
        assert [child.name() for child in set(psutil.Process().children()) - others - {guard}] == ["sh"]
    finally:
        scratch.remove()
    assert not scratch.folder.exists()
