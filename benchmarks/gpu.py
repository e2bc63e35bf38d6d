"""All measurements on a GPU, in one run: one table, one file of JSON.

    .venv/bin/python -W ignore -m benchmarks.gpu [--size large] [--layers N] [--precisions fp16 bf16 fp32]
        [--sentences 8192] [--seconds 6] [--most-seconds 20] [--callers 1 8 64 256 1024] [--processes 4]
        [--encoders 2] [--without-recovery] [--budget 480] [--part-limit 180] [--device gpu|cpu] [--save FILE.json]

For each precision it exports random weights with a parity report. It measures the matrix products alone, the module
alone, and the service on a real Triton. The service's figures are tokens per second of the length mixture up to 512
tokens, their share of the matrix rate, and memory. The first precision also has callers of single sentences, and the
recovery of a killed encoder. Its peers are sentence-transformers and the usual padded repository, on the same
sentences. A part that fails or exceeds `--part-limit` seconds is a row of the table. The run ends after `--budget`
seconds: it stops the current part, and leaves out the others. `--device cpu` is a rehearsal.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks import gpu_parts as parts
from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.limits import OverTime, time_limit
from benchmarks.peers import Job
from benchmarks.products import layers_of_products, operations_of_products
from benchmarks.report import print_report
from benchmarks.targets import SENTRITON, Service, token_requests
from benchmarks.workload import SENTENCES, hardware, spread_by_length
from sentriton import SentenceEncoder

SIZE = {"gpu": "large", "cpu": "4x256"}
PRECISIONS = {"gpu": ["fp16", "bf16", "fp32"], "cpu": ["fp32", "bf16"]}
CALLERS = (1, 8, 64, 256, 1024)
# A part with less time than this is left out.
_SHORTEST_PART_S = 5.0


@dataclass
class Run:
    """The rows so far, and the time limits of all parts and of each part."""

    budget_s: float
    part_limit_s: float
    started: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, part: str, precision: str, value: object, unit: str, note: str | None = None) -> None:
        self.rows.append({"part": part, "precision": precision, "value": value, "unit": unit, "note": note})
        print(f"{time.monotonic() - self.started:5.0f} s  {part} {precision}: {value} {unit} {note or ''}", flush=True)

    def part(self, name: str, precision: str, measure: Callable[[], None]) -> bool:
        """Measure a part. Returns whether it succeeded. A failure is a row, and the next part follows."""
        left_s = self.started + self.budget_s - time.monotonic()
        if left_s < _SHORTEST_PART_S:
            self.add(name, precision, None, "", f"left out: the budget of {self.budget_s:.0f} s is used up")
            return False
        try:
            with time_limit(min(left_s, self.part_limit_s)):
                measure()
        except (Exception, SystemExit, OverTime) as error:
            traceback.print_exc()
            self.add(name, precision, None, "", f"failed: {type(error).__name__}: {error}"[:300])
            return False
        return True


def measure_precision(run: Run, job: Job, operations: float, arguments: argparse.Namespace, *, first: bool) -> None:
    """Export, products and service at one precision. The `first` has callers and recovery as well."""
    precision, device = job.precision, job.device
    repository = job.scratch / f"repository-{precision}"
    rate = 0.0

    def export() -> None:
        manifest, seconds = parts.export_checkpoint(job, repository)
        run.add("parity", precision, round(manifest.parity["min_cosine"], 7), "cosine", f"export {seconds:.0f} s")

    def products() -> None:
        nonlocal rate
        _, hidden, _, intermediate = SIZES[arguments.size]
        rate = parts.best_rate(
            layers_of_products(precision, hidden, intermediate, device),
            operations_of_products(hidden, intermediate, device),
        )
        run.add("products", precision, round(rate / 1e12, 2), "TFLOP/s")

    def module() -> None:
        tokens_per_s = parts.count_tokens(job) / parts.module_seconds(repository, job, arguments.seconds)
        run.add("module", precision, round(tokens_per_s), "tokens/s", share_of_products(tokens_per_s))

    def share_of_products(tokens_per_s: float) -> str | None:
        return f"{tokens_per_s * operations / rate:.1%} of the products" if rate else None

    def service(served: Callable[[], Path], note: str | None = None) -> None:
        with parts.serve(served()) as (server, encoder):
            tokens_per_s = parts.tokens_per_second(encoder, job.sentences, arguments.seconds)
            add("service", round(tokens_per_s), "tokens/s", share_of_products(tokens_per_s), note)
            add("memory", round(parts.memory_bytes(device) / 2**30, 2), "GiB", parts.MEMORY[device], note)
            if first:
                run.part("callers", precision, lambda: callers(server.url, encoder, note))
            ended = time.monotonic()
        add("stop", round(time.monotonic() - ended, 1), "s", note)

    def add(part: str, value: object, unit: str, *notes: str | None) -> None:
        run.add(part, precision, value, unit, "; ".join(filter(None, notes)) or None)

    def callers(url: str, encoder: SentenceEncoder, further: str | None) -> None:
        with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
            target = Service(SENTRITON, token_requests(url, encoder.token_ids(job.sentences)))
            for number in arguments.callers:
                row = parts.call_single(pool, target, number, arguments)
                note = f"p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms"
                add(
                    "1 caller" if number == 1 else f"{number} callers",
                    row["requests_per_s"],
                    "sentences/s",
                    note,
                    row["note"],
                    further,
                )

    def recovery() -> None:
        run.add("recovery", precision, round(parts.recovery_s(repository, job.sentences[:4]), 1), "s", "encoder killed")

    if not run.part("export", precision, export):
        return
    run.part("products", precision, products)
    run.part("module", precision, module)
    run.part("service", precision, lambda: service(lambda: repository))
    for number in arguments.encoders if first else ():
        served = partial(parts.with_encoders, repository, number)
        run.part("service", precision, partial(service, served, f"{number} encoders"))
    if first and not arguments.without_recovery:
        run.part("recovery", precision, recovery)


def measure_others(run: Run, job: Job, arguments: argparse.Namespace) -> None:
    """sentence-transformers, and the padded repository, on the same sentences at the same precision."""
    tokens = parts.count_tokens(job)

    def torch() -> None:
        for attention, embed in parts.sentence_transformers(job):
            seconds = parts.best_seconds(embed, arguments.seconds)
            run.add("sentence-transformers", job.precision, round(tokens / seconds), "tokens/s", attention)

    def padded() -> None:
        with parts.padded(job) as embed:
            few = job.sentences[: max(8, len(job.sentences) // 8)]
            share = sum(map(len, few)) / sum(map(len, job.sentences))
            seconds = parts.best_seconds(lambda: embed(few), arguments.seconds)
            run.add(
                "padded repository", job.precision, round(tokens * share / seconds), "tokens/s", f"{len(few)} of them"
            )

    run.part("sentence-transformers", job.precision, torch)
    run.part("padded repository", job.precision, padded)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, help="default: large on a GPU, 4x256 on a CPU")
    parser.add_argument("--layers", type=int, help="default: all of the model's")
    parser.add_argument("--precisions", nargs="+", help="default: fp16 bf16 fp32 on a GPU, fp32 bf16 on a CPU")
    parser.add_argument("--sentences", type=int, default=8192)
    parser.add_argument("--seconds", type=float, default=6, help="duration of every turn")
    parser.add_argument("--most-seconds", type=float, default=20, help="longest turn if answers are slow")
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS)
    parser.add_argument("--processes", type=int, default=4, help="number of the callers' processes")
    parser.add_argument("--encoders", type=int, nargs="+", default=[], help="also serve with this number per GPU")
    parser.add_argument("--without-recovery", action="store_true", help="do not kill an encoder")
    parser.add_argument("--budget", type=float, default=480, help="seconds of all parts together")
    parser.add_argument("--part-limit", type=float, default=180, help="seconds of one part")
    parser.add_argument("--device", choices=SIZE, default="gpu")
    parser.add_argument("--save", type=Path, help="a file for the JSON")
    return parser


def main() -> None:
    arguments = parser().parse_args()
    device = arguments.device
    arguments.size = arguments.size or SIZE[device]
    layers = arguments.layers or SIZES[arguments.size][0]
    if device == "gpu":
        parts.require_gpu()
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the rows so far are reported in this case too
    run = Run(arguments.budget, arguments.part_limit)
    precisions = arguments.precisions or PRECISIONS[device]
    try:
        measure(run, precisions, layers, arguments)
    finally:
        memory, seconds = psutil.virtual_memory().total / 2**30, time.monotonic() - run.started
        title = (
            f"RoBERTa-{arguments.size}, {layers} layers, {arguments.sentences} sentences of the mixture, "
            f"{memory:.0f} GiB, {seconds:.0f} s, {hardware(device)}"
        )
        if run.rows:
            print_report("gpu", title, run.rows, save=arguments.save, device=device)


def add_kernel(run: Run, precision: str, size: str) -> None:
    run.add("kernel", precision, parts.kernel_name(precision, size), "", "for ragged attention")


def measure(run: Run, precisions: list[str], layers: int, arguments: argparse.Namespace) -> None:
    """All parts, those of the first precision first."""
    device = arguments.device
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = make_checkpoint(arguments.size, Path(scratch), layers=layers)
        sentences = spread_by_length(SENTENCES["mixture"](arguments.sentences))
        jobs = [
            Job(checkpoint, checkpoint, Path(scratch), precision, device, (32,), {}, sentences)
            for precision in precisions
        ]

        if device == "gpu":
            run.part("kernel", precisions[0], lambda: add_kernel(run, precisions[0], arguments.size))
        for number, job in enumerate(jobs):
            operations = parts.operations(arguments.size, layers)
            measure_precision(run, job, operations, arguments, first=number == 0)
            if number == 0:
                measure_others(run, job, arguments)


if __name__ == "__main__":
    main()
