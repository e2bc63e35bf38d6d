"""Embeds a corpus of any size with Spark: a `predict_batch_udf`, so each Python worker makes one `SentenceEncoder`.

    pip install ./client/python --requirement examples/requirements-spark.txt      # in the root of a checkout
    spark-submit examples/spark.py --input corpus.parquet --output embeddings --column text \
        --url dns:///sentriton-headless:8001

Reads and writes Parquet; the output has the input's columns and `embedding`, array<float>. As many requests are under
way as Spark runs tasks: bound them by `--partitions`, two or three a server. The workers' Python,
`$PYSPARK_PYTHON`, needs these packages too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, FloatType


def embedding_udf(url: str, batch_size: int = 1024) -> Any:
    """A Spark function from a column of strings to a column of array<float>."""

    def make_predict() -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        # Runs in the worker, once: encoders do not travel.
        from sentriton import SentenceEncoder

        # Bulk: queries of others go first. A batch may wait as long as a server's restart takes.
        encoder = SentenceEncoder(url, priority="bulk", stall_timeout_s=600)
        return lambda texts: encoder.encode(texts.tolist())

    return predict_batch_udf(make_predict, return_type=ArrayType(FloatType()), batch_size=batch_size)


def embed(frame: DataFrame, *, url: str, column: str, partitions: int) -> DataFrame:
    """`frame` with a column `embedding` of the texts in `column`."""
    return frame.repartition(partitions).withColumn("embedding", embedding_udf(url)(column))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--url", default="localhost:8001", help="of the server; several with commas between")
    parser.add_argument("--partitions", type=int, default=2, help="batches that are under way at a time, at most")
    arguments = parser.parse_args()
    session = SparkSession.builder.appName("sentriton").getOrCreate()
    corpus = session.read.parquet(arguments.input)
    embedded = embed(corpus, url=arguments.url, column=arguments.column, partitions=arguments.partitions)
    embedded.write.parquet(arguments.output)
    session.stop()


if __name__ == "__main__":
    main()
