"""Deadlines and pauses do not look at the wall clock, which may jump."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.commands import SENTRITON
from tests.faults.conftest import note, serve
from tests.faults.load import SENTENCES
from tests.waiting import until

SOURCE = Path(__file__).with_name("wandering_clock.c")


@pytest.fixture(scope="module")
def wandering(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose wall clock jumps by two days every half second."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a C compiler (cc)")
    library = tmp_path_factory.mktemp("clock") / "wandering_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.mark.slow
def test_launcher_and_client_do_not_mind_a_clock_that_jumps(
    repository: Path, expected: NDArray[np.float32], wandering: dict[str, str], tmp_path: Path
) -> None:
    copies = 32
    (tmp_path / "in.txt").write_text("".join(f"{sentence}\n" for sentence in SENTENCES * copies), encoding="utf-8")
    with serve(repository, "--canary-period-s", 1, **wandering) as served:
        command = [SENTRITON, "embed", "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.npy")]
        with subprocess.Popen(
            [*command, "--url", served.url, "--timeout-s", "60"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **wandering},
        ) as embedding:
            until((tmp_path / "out.npy.partial").exists, 30, "embed did not begin")
            served.process("encoder").kill()
            killed = time.monotonic()
            until(lambda: served.restarts() == 1, 45, "no restart")
            recovery_s = time.monotonic() - killed
            _, said = embedding.communicate(timeout=90)
        assert embedding.returncode == 0, said
        time.sleep(3)  # some canaries
        assert served.restarts() == 1, served.said
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), np.tile(expected, (copies, 1)), atol=1e-5)
    note("a wall clock that jumps", f"recovery from a killed encoder in {recovery_s:.1f} s, {64 * copies:,} rows right")
