"""Nothing that a server needs while it runs outlives a launcher that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

# Stands in for Triton: SIGTERM ends the leader, and a child of its group stays, as a stub does that is still loading.
_LAUNCHER = """
import subprocess, time
from sentriton_server.serving.scratch import Scratch

scratch = Scratch(exit_timeout_s=5)
triton = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE)
scratch.guard(triton.pid)
print(triton.pid, int(triton.stdout.readline()), scratch.folder, flush=True)
time.sleep(60)
"""


def test_a_killed_launcher_leaves_no_process_of_tritons_group() -> None:
    with subprocess.Popen([sys.executable, "-c", _LAUNCHER], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        leader, member, folder = launcher.stdout.readline().split()
        processes = [psutil.Process(int(leader)), psutil.Process(int(member))]
        launcher.kill()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not Path(folder).exists()
