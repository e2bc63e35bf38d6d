"""`import sentriton` is quick."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, time
started = time.process_time()
import sentriton
seconds = time.process_time() - started
heavy = {"torch", "transformers", "sentence_transformers", "datasets", "pandas", "langchain_core", "llama_index"}
print(seconds, *sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_import_is_quick_and_light() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    assert [run[1:] for run in runs] == [[], [], []]
    # The best CPU time of three, to exclude the machine's other work.
    assert min(float(run[0]) for run in runs) < 0.5
