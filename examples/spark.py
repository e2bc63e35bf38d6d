"""Embeds a corpus of any size with Spark by a `predict_batch_udf`. Each Python worker makes one `SentenceEncoder`.

    pip install ./client/python --requirement examples/requirements-spark.txt      # in the root of a checkout
    spark-submit examples/spark.py --input corpus.parquet --output embeddings --column text \
        --url dns:///sentriton-headless:8001

It reads and writes Parquet. The output has the input's columns and `embedding`, array<float>. Each running Spark task
has a request in flight. Bound them by `--partitions`, two or three per server. The workers' Python,
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
        # Runs once in each worker, since encoders cannot be pickled.
        from sentriton import SentenceEncoder

        # In the bulk lane, after the queries of others. A batch may wait for a restart of the server.
        encoder = SentenceEncoder(url, priority="bulk", stall_timeout_s=600)
        return lambda texts: encoder.encode(texts.tolist())

    return predict_batch_udf(make_predict, return_type=ArrayType(FloatType()), batch_size=batch_size)


def embed(frame: DataFrame, *, url: str, column: str, partitions: int) -> DataFrame:
    """Add a column `embedding` of the texts in `column` to a frame."""
    return frame.repartition(partitions).withColumn("embedding", embedding_udf(url)(column))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--url", default="localhost:8001", help="server address; several with commas")
    parser.add_argument("--partitions", type=int, default=2, help="largest number of batches in progress")
    arguments = parser.parse_args()
    session = SparkSession.builder.appName("sentriton").getOrCreate()
    corpus = session.read.parquet(arguments.input)
    embedded = embed(corpus, url=arguments.url, column=arguments.column, partitions=arguments.partitions)
    embedded.write.parquet(arguments.output)
    session.stop()


if __name__ == "__main__":
    main()
