"""How many sentences per second of a corpus do the service and its peers embed?

    .venv/bin/python -m benchmarks.offline [--size large] [--layers N] [--sentences 256] [--lengths klue|mixture]
        [--rounds 2] [--device cpu|gpu] [--contenders NAME…] [--precisions fp32 bf16 int8]
        [--scratch FOLDER] [--prepare] [--plot FILE.png] [--save FILE.json]

Contenders are in `benchmarks/peers`, and `make peers` installs their packages. Each has its own process. They take
turns in rounds, one precision after the other. The best round of each counts, because other work may disturb a round.
Rates are by the wall clock. On a busy machine compare the CPU time, of client and server together. `min_cosine` is the
smallest cosine between a contender's vectors and those of sentence-transformers in fp32.

Exports take most of a run. `--scratch` keeps them for the next run with the same size and layers. `--prepare` only
writes the exports.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.peers import PEERS, SENTRITON, TORCH, Job
from benchmarks.peers.older import write_older_checkpoint
from benchmarks.peers.process import Figures, PeerProcess, Unavailable, wait_until_idle
from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, hardware, with_padding
from sentriton_server.encoder import PRECISIONS
from sentriton_server.parity import compare

WARM_UP_STRIDE = 4  # a quarter of the sentences, of all lengths
COSINE_DIGITS = 3  # digits for comparing how close vectors are to fp32


@dataclasses.dataclass
class Entry:
    """A row of the table: a peer at a precision and a batch size, with its best round or the reason of its failure."""

    peer: str
    precision: str
    batch_size: int
    sentences_per_s: float = 0.0
    cpu_ms_per_sentence: float = float("inf")
    min_cosine: float = 1.0
    note: str | None = None

    def add(self, figures: Figures, reference: NDArray[np.float32]) -> None:
        self.sentences_per_s = max(self.sentences_per_s, figures.sentences_per_s)
        self.cpu_ms_per_sentence = min(self.cpu_ms_per_sentence, figures.cpu_ms_per_sentence)
        self.min_cosine = min(self.min_cosine, compare(figures.embeddings, reference).min_cosine)

    def leave_out(self, unavailable: Unavailable) -> None:
        self.note, reason = unavailable.args
        log(f"{PEERS[self.peer].label}, batches of {self.batch_size}: {self.note}\n{reason}")


def log(message: str) -> None:
    print(time.strftime("%X"), message, file=sys.stderr)


def measure(job: Job, names: list[str], rounds: int, reference: NDArray[np.float32]) -> list[Entry]:
    """All contenders of one precision, in turns."""
    entries = []
    with ExitStack() as stack:
        turns: list[tuple[PeerProcess, Entry]] = []
        for name in names:
            peer = PEERS[name]
            if job.precision not in peer.precisions.get(job.device, ()):
                continue
            own = [Entry(name, job.precision, size) for size in peer.batch_sizes]
            entries += own
            log(f"{job.precision}: starting {peer.label}")
            try:
                its_job = dataclasses.replace(job, batch_sizes=peer.batch_sizes, options=peer.options)
                process = stack.enter_context(PeerProcess(peer, its_job))
                for size in peer.batch_sizes:
                    process.encode(size, every=WARM_UP_STRIDE)
            except Unavailable as unavailable:
                for entry in own:
                    entry.leave_out(unavailable)
            else:
                turns += [(process, entry) for entry in own]
        for _ in range(rounds):
            for process, entry in turns:
                log(f"{job.precision}: {PEERS[entry.peer].label}, batches of {entry.batch_size or 'its own'}")
                wait_until_idle()
                try:
                    entry.add(process.encode(entry.batch_size), reference)
                except Unavailable as unavailable:
                    entry.leave_out(unavailable)
        for process, _ in turns:
            process.finish()
    return entries


def ratios(entry: Entry, others: list[Entry]) -> tuple[float | None, float | None]:
    """The ratios to the best of `others`, by the wall clock and by CPU time."""
    if entry.note is not None or not others:
        return None, None
    rate = max(other.sentences_per_s for other in others)
    cpu_ms = min(other.cpu_ms_per_sentence for other in others)
    return round(entry.sentences_per_s / rate, 2), round(cpu_ms / entry.cpu_ms_per_sentence, 2)


def closeness(entry: Entry) -> float:
    return round(entry.min_cosine, COSINE_DIGITS)


def table(entries: list[Entry]) -> list[dict[str, Any]]:
    """Rows with three ratios at the same precision. The baselines are sentence-transformers with its defaults, the best
    peer, and the best peer that is as close to fp32.
    """
    rows = []
    for entry in entries:
        ran = [other for other in entries if other.precision == entry.precision and other.note is None]
        default = [other for other in ran if (other.peer, other.batch_size) == (TORCH, PEERS[TORCH].batch_sizes[0])]
        best = [other for other in ran if other.peer != SENTRITON]
        close = [other for other in best if closeness(other) >= closeness(entry)]
        x_default, cpu_x_default = ratios(entry, default)
        x_best_peer, cpu_x_best_peer = ratios(entry, best)
        x_best_as_close, _ = ratios(entry, close)
        rows.append(
            {
                "contender": PEERS[entry.peer].label,
                "precision": entry.precision,
                "batch": str(entry.batch_size or "its own"),
                "sentences_per_s": None if entry.note else round(entry.sentences_per_s, 1),
                "x_default": x_default,
                "x_best_peer": x_best_peer,
                "x_best_as_close": x_best_as_close,
                "cpu_ms": None if entry.note else round(entry.cpu_ms_per_sentence, 2),
                "cpu_x_default": cpu_x_default,
                "cpu_x_best_peer": cpu_x_best_peer,
                "min_cosine": None if entry.note else round(entry.min_cosine, 6),
                "note": entry.note,
            }
        )
    return rows


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--layers", type=int, help="fewer layers, for a quick run")
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--contenders", choices=PEERS, nargs="+", default=list(PEERS))
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=list(PRECISIONS))
    parser.add_argument("--scratch", type=Path, help="folder of checkpoint and exports, for reuse in the next run")
    parser.add_argument("--prepare", action="store_true", help="only fill --scratch, without measuring")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    return parser


def make_job(arguments: argparse.Namespace, folder: Path) -> Job:
    """The job of all contenders, with a new or existing checkpoint in `folder`. Raises `SystemExit` if that one has
    another size.
    """
    checkpoint, older = folder / f"roberta-{arguments.size}", folder / "older"
    if not older.exists():
        make_checkpoint(arguments.size, folder, layers=arguments.layers)
        write_older_checkpoint(checkpoint, older)
    config = json.loads((older / "config.json").read_text(encoding="utf-8"))
    layers, hidden_size = SIZES[arguments.size][:2]
    if (config["num_hidden_layers"], config["hidden_size"]) != (arguments.layers or layers, hidden_size):
        raise SystemExit(
            f"--scratch {folder} has exports of {config['num_hidden_layers']} layers of width {config['hidden_size']}; "
            "give the same --size and --layers, or another folder"
        )
    return Job(
        checkpoint,
        older,
        scratch=folder,
        precision="fp32",
        device=arguments.device,
        batch_sizes=(),
        options={},
        sentences=SENTENCES[arguments.lengths](arguments.sentences),
    )


def main() -> None:
    arguments = parser().parse_args()
    logging.disable(logging.WARNING)
    with ExitStack() as stack:
        folder = arguments.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = make_job(arguments, folder.resolve())
        jobs = [dataclasses.replace(job, precision=precision) for precision in arguments.precisions]
        if arguments.prepare:
            for each in jobs:
                measure(each, arguments.contenders, 0, np.empty(0, np.float32))
            return
        tokenizer = Tokenizer.from_file(str(job.checkpoint / "tokenizer.json"))
        tokens = [len(encoding.ids) for encoding in tokenizer.encode_batch(job.sentences)]
        with PeerProcess(PEERS[TORCH], job) as process:
            reference = process.encode(batch_size=8).embeddings
        entries = [entry for each in jobs for entry in measure(each, arguments.contenders, arguments.rounds, reference)]
    layers = f", {arguments.layers} layers" if arguments.layers else ""
    batch_size = PEERS[TORCH].batch_sizes[0]
    title = (
        f"RoBERTa-{arguments.size}{layers}, {len(job.sentences)} sentences ({arguments.lengths}), "
        f"{with_padding(job.sentences, tokens, batch_size):.2f} times their tokens in sorted batches of {batch_size}, "
        f"{hardware(arguments.device)}"
    )
    print_report("offline", title, table(entries), plot=arguments.plot, save=arguments.save)


if __name__ == "__main__":
    main()
