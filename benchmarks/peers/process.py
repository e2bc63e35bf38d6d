"""Runs the process of a peer, which returns vectors and figures."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import time
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.peers import ROOT, Job, Peer
from benchmarks.workload import cpu_seconds

SHOWN_LOG_LETTERS = 2000  # of a failed peer
# Each peer's libraries or server choose the number and the waiting of threads.
UNSET_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")


class Unavailable(Exception):
    """A peer cannot run here. It has a note for the table, and the reason."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """The figures of one pass over the sentences."""

    sentences_per_s: float
    cpu_ms_per_sentence: float
    embeddings: NDArray[np.float32]


class PeerProcess:
    """A context manager for a peer at one precision, in a separate process. Raises `Unavailable` on entering, or later
    if its process ends.
    """

    def __init__(self, peer: Peer, job: Job) -> None:
        self._peer, self._job = peer, job
        self._log = job.scratch / f"{peer.module}-{job.precision}-{'-'.join(job.options.values())}.log"

    def __enter__(self) -> PeerProcess:
        if not self._peer.python.exists():
            raise Unavailable("absent: make peers", f"no {self._peer.python}")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [self._peer.python, "-W", "ignore", "-m", "benchmarks.peers.worker", self._peer.module],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if name not in UNSET_VARIABLES},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self._say(dataclasses.asdict(self._job))  # not as an argument, which Linux limits to 128 KiB
            self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def finish(self) -> None:
        """Tell it to end, without waiting."""
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()

    def __exit__(self, *exception: object) -> None:
        self.finish()
        self._process.wait()
        _pipe(self._process.stdout).close()

    def encode(self, batch_size: int, every: int = 1) -> Figures:
        """Embed every `every`th sentence of the job."""
        save = self._job.scratch / "embeddings.npy"
        request = {"every": every, "batch_size": batch_size, "save": str(save)}
        self._say(request)
        answer = self._answer()
        embeddings = np.load(save)
        return Figures(len(embeddings) / answer["seconds"], 1000 * answer["cpu_seconds"] / len(embeddings), embeddings)

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # after its end, the missing answer leads to the reason
            print(json.dumps(message, default=str), file=_pipe(self._process.stdin), flush=True)

    def _answer(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise Unavailable("failed", self._log.read_text(errors="replace")[-SHOWN_LOG_LETTERS:])
        answer: dict[str, Any] = json.loads(line)
        return answer


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def wait_until_idle(limit_s: float = 10.0) -> None:
    """Wait until the threads of all peers sleep. Threads of OpenMP and ONNX Runtime spin for a while after their work,
    on cores that the next peer needs. Raises `TimeoutError` if they spin for `limit_s`.
    """
    end = time.monotonic() + limit_s
    interval_s, busy_cores = 0.25, 0.2
    while time.monotonic() < end:
        before = cpu_seconds(psutil.Process())
        time.sleep(interval_s)
        if cpu_seconds(psutil.Process()) - before < busy_cores * interval_s:
            return
    raise TimeoutError(f"peers keep the cores busy {limit_s:g} s after their turn")
