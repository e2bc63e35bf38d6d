"""The examples for corpora beyond one machine, as their users run them: the real engine in local mode, two workers, two
servers, 20,000 sentences.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder
from tests.conftest import ROOT
from tests.server.conftest import RunningServer, serving

SENTENCES = [f"{number}번 손님이 남긴 {'아주 ' * (number % 5)}좋은 후기입니다" for number in range(20_000)]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RunningServer]]:
    with serving(None) as first, serving(None) as second:
        yield [first, second]


@pytest.fixture(scope="module")
def expected(servers: list[RunningServer]) -> NDArray[np.float32]:
    """The embeddings of the sentences by the plain client."""
    with SentenceEncoder(",".join(server.url for server in servers)) as encoder:
        embeddings: NDArray[np.float32] = encoder.encode(SENTENCES)
        return embeddings


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Parquet in four files, for there to be something to share out."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for part in range(4):
        numbers = range(part * 5000, (part + 1) * 5000)
        pq.write_table(
            pa.table({"number": numbers, "text": [SENTENCES[n] for n in numbers]}), folder / f"{part}.parquet"
        )
    return folder


def run(
    example: str, corpus: Path, output: Path, servers: list[RunningServer], *further: str, **environment: str
) -> None:
    url = ",".join(server.url for server in servers)
    arguments = ["--input", str(corpus), "--output", str(output), "--url", url, *further]
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / example, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def read(output: Path) -> tuple[list[int], NDArray[np.float32]]:
    """Numbers of the sentences, and their vectors in the numbers' order."""
    table = pq.read_table(output).sort_by("number")
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    return table["number"].to_pylist(), vectors


def embedded_by(server: RunningServer) -> float:
    return server.published("sentriton_rows_total")


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray; make examples-large and make deploy install it")
def test_ray_data(corpus: Path, tmp_path: Path, servers: list[RunningServer], expected: NDArray[np.float32]) -> None:
    before = [embedded_by(server) for server in servers]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": "/tmp/ray", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    run("ray_data.py", corpus, tmp_path / "embedded", servers, "--workers", "2", **quiet)
    numbers, vectors = read(tmp_path / "embedded")
    assert numbers == list(range(len(SENTENCES))), "none lost, none twice"
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    shares = [embedded_by(server) - count for server, count in zip(servers, before, strict=True)]
    assert sum(shares) == len(SENTENCES)
    assert min(shares) > len(SENTENCES) / 10, "both servers take part"


@pytest.mark.skipif(
    find_spec("pyspark") is None or shutil.which("java") is None,
    reason="needs PySpark, which make examples-large installs, and a Java of version 17 or later",
)
def test_spark(corpus: Path, tmp_path: Path, servers: list[RunningServer], expected: NDArray[np.float32]) -> None:
    before = [embedded_by(server) for server in servers]
    local = {"SPARK_LOCAL_IP": "127.0.0.1", "MASTER": "local[2]", "PYSPARK_PYTHON": sys.executable}
    run("spark.py", corpus, tmp_path / "embedded", servers, **local)
    numbers, vectors = read(tmp_path / "embedded")
    assert numbers == list(range(len(SENTENCES))), "none lost, none twice"
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    assert all(embedded_by(server) > count for server, count in zip(servers, before, strict=True))
