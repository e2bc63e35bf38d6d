"""How do the encoder's time and memory grow with the batch, the length of its rows and the size of the model?

    .venv/bin/python -m benchmarks.scale [--sizes 4x256 base] [--precision int8] [--rows 1 8 64] [--lengths 16 128 512]
        [--plot FILE.png]

The TorchScript module runs alone, in a separate process for each size. The table has the seconds of a batch (the second
of two). It also has the peak memory above the start, including the token embeddings of all places.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.growth import growth
from benchmarks.report import print_report
from benchmarks.workload import hardware
from sentriton_server.encoder import PRECISIONS, compile_encoder, precisions_of, read_encoder


def measure(path: str, rows: int, length: int) -> tuple[float, float]:
    """Seconds and MiB of one batch."""
    torch._C._get_graph_executor_optimize(False)
    module = torch.jit.load(path)
    ids, row = torch.full([rows * length, 1], 9), torch.arange(rows).repeat_interleave(length)[:, None]
    key = torch.zeros_like(row)  # the key of a module without an export
    with torch.inference_mode():
        module(ids[:length], row[:length], key[:length])
        with growth() as grown:
            module(ids, row, key)
        started = time.perf_counter()
        module(ids, row, key)
        return time.perf_counter() - started, grown.mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["4x256", "base"])
    parser.add_argument("--precision", choices=precisions_of("cpu"), default="int8")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128, 512])
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    table: list[dict[str, Any]] = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = make_checkpoint(size, Path(scratch))
            _, encoder = read_encoder(SentenceTransformer(str(checkpoint), device="cpu")[0].model, 512)
            path = str(Path(scratch) / "model.pt")
            compile_encoder(encoder, PRECISIONS[arguments.precision]).save(path)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                for rows in arguments.rows:
                    for length in arguments.lengths:
                        seconds, memory = pool.apply(measure, (path, rows, length))
                        table.append(
                            {
                                "model": f"{size}, {rows} x {length} tokens",
                                "ms": round(1000 * seconds, 1),
                                "tokens_per_s": round(rows * length / seconds),
                                "memory_mib": round(memory),
                            }
                        )
    title = f"RoBERTa {arguments.precision}, one batch in one process, {hardware()}"
    print_report("scale", title, table, plot=arguments.plot, bars="tokens_per_s")


if __name__ == "__main__":
    main()
