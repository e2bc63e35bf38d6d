"""`sentriton embed` with a slow model saves rows every few seconds, and when it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.commands import SENTRITON, run
from tests.small_server import DIMENSION, SmallServer, vectors

COUNT = 300


def test_rows_of_a_slow_model_are_saved_every_few_seconds(server: SmallServer, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(COUNT)]
    (tmp_path / "in.txt").write_text("".join(f"{word}\n" for word in words))
    output, partial = tmp_path / "out.npy", tmp_path / "out.npy.partial"
    arguments = ["embed", "--input", tmp_path / "in.txt", "--output", output, "--url", server.url]
    # Eight rows in half a second: some two minutes for as many as a chunk of a fast model has.
    server.delay_s = 0.5
    slow = [*map(str, arguments), "--batch-size", "4", "--max-in-flight", "1", "--progress"]
    with subprocess.Popen([SENTRITON, *slow], stderr=subprocess.PIPE, text=True) as process:
        sizes: dict[int, float] = {}
        started = time.monotonic()
        while time.monotonic() - started < 12 and process.poll() is None:
            if partial.exists():
                sizes.setdefault(partial.stat().st_size, time.monotonic())
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    times = sorted(sizes.values())
    assert len(times) >= 4
    assert max(later - earlier for earlier, later in pairwise(times[1:])) < 4
    kept = (partial.stat().st_size - 128) // (DIMENSION * 4)  # rows may have been saved after the last look
    assert f"{kept} rows are kept" in errors
    server.delay_s = 0.0
    summary = json.loads(run(*arguments, "--json").stdout)
    assert (summary["rows"], summary["resumed"]) == (COUNT, kept)
    np.testing.assert_array_equal(np.load(output), vectors(words))
