"""How much does other work on the same cores cost the encoder?

    .venv/bin/python -m benchmarks.contention [--size base] [--layers 6] [--precision int8] [--operators auto]
        [--sentences 128] [--contenders service module] [--busy 6 15] [--spins 0 300 10000] [--seconds 4]
        [--save FILE.json]

The encoder embeds a corpus alone, and then beside busy processes. It runs as a service, whose server has a session of
its own, and as the exported module in this session. Other work takes cores, but it should not raise the CPU time per
sentence. So the table has both: the cores that the encoder used, and its CPU time per sentence.

The session matters if `/proc/sys/kernel/sched_autogroup_enabled` is 1, because Linux then divides the cores between
sessions first. All busy processes of another session together take half of the cores. A busy process of the same
session takes as much as a thread of the encoder. `--spins` are values of `GOMP_SPINCOUNT`, the number of times that a
waiting thread spins before it sleeps.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.chain import direct
from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.report import print_report
from benchmarks.workload import cpu_seconds, hardware, klue_sentences
from sentriton import SentenceEncoder
from sentriton_server.export import export
from sentriton_server.serving import ServerSettings, TritonServer
from sentriton_server.settings import OPERATORS

BATCH_SIZE = 32
SPIN_VARIABLE = "GOMP_SPINCOUNT"
# The session of the busy processes: another than the encoder's, or that of this process.
SESSIONS = ("another", "this")
_SETTLE_S = 0.5
# A process that ends after its computing children.
_LOOPS = "import os\nfor _ in range({0}):\n if not os.fork():\n  while True: pass\nfor _ in range({0}): os.wait()"

# Sentences and CPU seconds per second, of all passes that begin within the given seconds.
Measure = Callable[[float], tuple[float, float]]


def measure(
    encode: Callable[[], object], sentences: int, seconds: float, process: psutil.Process
) -> tuple[float, float]:
    """The figures of `Measure` for passes over `sentences`. The CPU time is that of `process` and its children."""
    passes, cpu, started = 0, cpu_seconds(process), time.perf_counter()
    while (since := time.perf_counter() - started) < seconds:
        encode()
        passes += 1
    return passes * sentences / since, (cpu_seconds(process) - cpu) / since


@contextmanager
def service(repository: Path, sentences: list[str]) -> Iterator[Measure]:
    with (
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
        SentenceEncoder(server.url, timeout_s=3600, priority="bulk") as encoder,
    ):
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        encoder.encode(sentences)
        yield lambda seconds: measure(lambda: encoder.encode(sentences), len(sentences), seconds, process)


@contextmanager
def module(repository: Path, sentences: list[str]) -> Iterator[Measure]:
    """The module in a separate process, since OpenMP reads its variables once."""
    spawn = multiprocessing.get_context("spawn")
    pipe, its_pipe = spawn.Pipe()
    process = spawn.Process(target=answer_with_module, args=(its_pipe, repository, sentences))
    process.start()

    def ask(seconds: float) -> tuple[float, float]:
        pipe.send(seconds)
        answer: tuple[float, float] = pipe.recv()
        return answer

    ask(0.1)
    yield ask
    pipe.send(None)
    process.join()


def answer_with_module(pipe: Any, repository: Path, sentences: list[str]) -> None:
    torch._C._get_graph_executor_optimize(False)  # as in the repository's configuration
    run = direct(repository, sentences, BATCH_SIZE)
    while (seconds := pipe.recv()) is not None:
        pipe.send(measure(run, len(sentences), seconds, psutil.Process()))


CONTENDERS = {"service": service, "module": module}


@contextmanager
def busy(processes: int, session: str) -> Iterator[None]:
    """Processes that compute endlessly, in one of `SESSIONS`."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _LOOPS.format(processes)], start_new_session=session == SESSIONS[0]
    )
    try:
        time.sleep(_SETTLE_S)
        yield
    finally:
        for loop in psutil.Process(parent.pid).children():
            loop.kill()
        parent.wait()


def rows_of(contender: str, spins: str, measure_it: Measure, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A contender alone, then next to busy processes in each session."""
    rows: list[dict[str, Any]] = []
    for processes, session in [(0, None), *itertools.product(arguments.busy, SESSIONS)]:
        with busy(processes, session) if session else nullcontext():
            rate, cores = measure_it(arguments.seconds)
        row = {"contender": contender, "spins": spins, "busy": str(processes), "in_session": session}
        alone = rows[0] if rows else {"sentences_per_s": rate}
        row |= {
            "sentences_per_s": round(rate, 1),
            "of_alone": round(rate / alone["sentences_per_s"], 2),
            "cores": round(cores, 2),
            "cpu_ms": round(1000 * cores / rate, 2),
        }
        rows.append(row)
    return rows


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--operators", choices=OPERATORS, default="auto")
    parser.add_argument("--sentences", type=int, default=128)
    parser.add_argument("--contenders", choices=CONTENDERS, nargs="+", default=list(CONTENDERS))
    parser.add_argument("--busy", type=int, nargs="+", default=[6, 15])
    parser.add_argument("--spins", nargs="+", default=["0", "300", "10000"])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    return parser


def main() -> None:
    arguments = parser().parse_args()
    logging.disable(logging.WARNING)
    sentences = klue_sentences()[: arguments.sentences]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = make_checkpoint(arguments.size, Path(scratch), layers=arguments.layers)
        repository = Path(scratch) / "repository"
        export(checkpoint, repository, precision=arguments.precision, device="cpu", operators=arguments.operators)
        for spins in arguments.spins:
            os.environ.update({SPIN_VARIABLE: spins, "OMP_WAIT_POLICY": "PASSIVE"})
            for contender in arguments.contenders:
                with CONTENDERS[contender](repository, sentences) as measure_it:
                    rows += rows_of(contender, spins, measure_it, arguments)
    title = (
        f"RoBERTa-{arguments.size}, {arguments.layers} layers, {arguments.precision}, {len(sentences)} sentences, "
        f"{hardware()}"
    )
    print_report("contention", title, rows, plot=arguments.plot, save=arguments.save)


if __name__ == "__main__":
    main()
