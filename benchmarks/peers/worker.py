"""The process of a contender: `python -m benchmarks.peers.worker MODULE`.

The first line of its input is a `Job` in JSON. The worker prepares the contender and prints `{}`. Each further line is
`{"every": N, "batch_size": …, "save": FILE.npy}`. The worker embeds every Nth sentence, writes the vectors to FILE and
prints `{"seconds": …, "cpu_seconds": …}`. It ends with its input. CPU seconds are those of this process and its
children, so they include servers.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.peers import Encode, Job
from benchmarks.workload import cpu_seconds


def measure(encode: Encode, sentences: list[str], batch_size: int, save: str) -> dict[str, float]:
    cpu, started = cpu_seconds(psutil.Process()), time.perf_counter()
    embeddings = encode(sentences, batch_size)
    seconds = time.perf_counter() - started
    cpu = cpu_seconds(psutil.Process()) - cpu
    np.save(save, embeddings)
    return {"seconds": seconds, "cpu_seconds": cpu}


def main() -> None:
    (module,) = sys.argv[1:]
    fields: dict[str, Any] = json.loads(sys.stdin.readline())
    paths = {name: Path(fields[name]) for name in ("checkpoint", "older_checkpoint", "scratch")}
    job = Job(**{**fields, **paths})
    # The output of libraries must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with importlib.import_module(f"benchmarks.peers.{module}").load(job) as encode:
        answers.write("{}\n")
        for line in sys.stdin:
            request = json.loads(line)
            sentences = job.sentences[:: request["every"]]
            answers.write(json.dumps(measure(encode, sentences, request["batch_size"], request["save"])) + "\n")


if __name__ == "__main__":
    main()
