"""A /dev/shm of a container's default size is an error of one sentence before Triton starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.commands import SENTRITON
from tests.ports import FREE_PORT_FLAGS


def test_too_little_shared_memory(repository: Path) -> None:
    # A separate mount namespace with a small /dev/shm.
    serve = f"{SENTRITON} serve {repository} {' '.join(FREE_PORT_FLAGS)}"
    inside = f"mount -t tmpfs -o size=4m tmpfs /dev/shm && exec {serve}"
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip(f"needs the right to make a mount namespace: {allowed.stderr.decode().strip()}")
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1, result.stderr
    assert "/dev/shm has 4 MiB free and the largest batch needs" in result.stderr
    assert "--shm-size" in result.stderr
