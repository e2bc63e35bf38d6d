"""Embeds a text file of any size, a sentence per line, into a .npy file, in constant memory.

    python examples/large_file.py corpus.txt corpus.npy

`sentriton embed` does the same with more formats, and resumes after an interruption.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from sentriton import SentenceEncoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    with arguments.input.open(encoding="utf-8") as lines:
        sentences = sum(1 for _ in lines)
    # In the bulk lane, after the queries of others. A request may wait for a restart of the server.
    with (
        SentenceEncoder(priority="bulk", stall_timeout_s=600) as encoder,
        arguments.input.open(encoding="utf-8") as lines,
    ):
        shape = (sentences, encoder.get_embedding_dimension())
        vectors = open_memmap(arguments.output, mode="w+", dtype=np.float32, shape=shape)
        done = 0
        for embeddings in encoder.encode_stream(line.rstrip("\n") for line in lines):
            vectors[done : done + len(embeddings)] = embeddings
            done += len(embeddings)
        vectors.flush()
    print(f"{done} vectors of {shape[1]} numbers are in {arguments.output}")


main()
