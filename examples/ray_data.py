"""Embeds a corpus of any size with Ray Data. Each worker has a `SentenceEncoder`, and all share the servers.

    pip install ./client/python --requirement examples/requirements-ray.txt        # in the root of a checkout
    python examples/ray_data.py --input corpus.parquet --output embeddings --column text \
        --url dns:///sentriton-headless:8001 --workers 8

It reads and writes Parquet, a folder or a file, local or remote (s3://...). The output has the input's columns and
`embedding`, float32 [dimension]. Workers only tokenize and wait, so the servers' rate is the limit. Two or three
workers per server are enough.
"""

from __future__ import annotations

import argparse
from typing import Any

import ray.data
from numpy.typing import NDArray

from sentriton import SentenceEncoder


class Embed:
    """The state of a worker: one encoder for all of its batches."""

    def __init__(self, url: str, column: str) -> None:
        self.column = column
        # In the bulk lane, after the queries of others. A batch may wait for a restart of the server.
        self.encoder = SentenceEncoder(url, priority="bulk", stall_timeout_s=600)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {**batch, "embedding": self.encoder.encode(batch[self.column].tolist())}


def embed(
    dataset: ray.data.Dataset, *, url: str, column: str, workers: int, batch_size: int = 1024
) -> ray.data.Dataset:
    """Add a column `embedding`, float32 [dimension], of the texts in `column` to a data set."""
    return dataset.map_batches(
        Embed,
        fn_constructor_kwargs={"url": url, "column": column},
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=0.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--url", default="localhost:8001", help="server address; several with commas")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    corpus = ray.data.read_parquet(arguments.input)
    embed(corpus, url=arguments.url, column=arguments.column, workers=arguments.workers).write_parquet(arguments.output)


if __name__ == "__main__":
    main()
