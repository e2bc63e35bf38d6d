"""Infinity's server (`infinity_emb v2`), one process per batch size. Several callers send concurrent requests over HTTP
on loopback, like OpenAI's client (vectors in base64).

The server has its default settings, with two exceptions. The optimum engine pools the first token by default, so it
gets `--pooling-method mean`. The torch engine runs int8 without BetterTransformer, which would ignore the 8-bit
weights.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import PEERS, Encode, Job

CALLERS = 4
SENTENCES_PER_REQUEST = 32
START_LIMIT_S = 240
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
MODEL = "model"
# The names that sentence-transformers gives the files, and the names that Infinity expects.
ONNX_FILES = {"fp32": ("model.onnx",) * 2, "int8": ("model_qint8_avx512_vnni.onnx", "model_quantized.onnx")}


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    with serve(job) as urls, ThreadPoolExecutor(CALLERS) as callers:

        def encode(sentences: list[str], batch_size: int) -> NDArray[np.float32]:
            starts = range(0, len(sentences), SENTENCES_PER_REQUEST)
            requests = [sentences[start : start + SENTENCES_PER_REQUEST] for start in starts]
            return np.concatenate(list(callers.map(lambda request: _embed(urls[batch_size], request), requests)))

        yield encode


@contextmanager
def serve(job: Job) -> Iterator[dict[int, str]]:
    """Run a server for each of the job's batch sizes. Yields the URLs of their embeddings."""
    model = _onnx_model(job) if job.options["engine"] == "optimum" else job.older_checkpoint
    with ExitStack() as stack:
        yield {size: stack.enter_context(_serve(model, job, size)) for size in job.batch_sizes}


def embeddings_request(sentences: list[str]) -> bytes:
    """The body of a request for the vectors of `sentences`."""
    return json.dumps({"model": MODEL, "input": sentences, "encoding_format": "base64"}).encode()


def _onnx_model(job: Job) -> Path:
    """A checkpoint with the ONNX file that sentence-transformers exports, under Infinity's name. If a checkpoint has
    several files, Infinity chooses one with "quantize" in its name.
    """
    exporter, onnx = PEERS["onnx"], job.scratch / "onnx"
    subprocess.run(
        [exporter.python, "-m", f"benchmarks.peers.{exporter.module}", job.older_checkpoint, onnx, job.precision],
        check=True,
    )
    folder = job.scratch / f"infinity-onnx-{job.precision}"
    if folder.exists():
        return folder
    shutil.copytree(job.older_checkpoint, folder, copy_function=os.link)
    name, infinitys = ONNX_FILES[job.precision]
    (folder / "onnx").mkdir()
    os.link(onnx / "onnx" / name, folder / "onnx" / infinitys)
    return folder


@contextmanager
def _serve(model: Path, job: Job, batch_size: int) -> Iterator[str]:
    """Run a server. Yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = (
        ["--engine", "optimum", "--pooling-method", "mean"]
        if job.options["engine"] == "optimum"
        else ["--engine", "torch", "--dtype", DTYPES[job.precision]]
    )
    if job.precision == "int8" and job.options["engine"] == "torch":
        engine.append("--no-bettertransformer")
    process = subprocess.Popen(
        [
            *(
                PEERS["infinity"].python.with_name("infinity_emb"),
                "v2",
                "--model-id",
                model,
                "--served-model-name",
                MODEL,
            ),
            *("--device", "cpu", "--batch-size", str(batch_size), "--no-model-warmup", *engine),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
        ],
        env={
            **os.environ,
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(job.scratch / "infinity-home"),
        },
        stdout=sys.stderr,
    )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/embeddings"
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"infinity_emb ended by itself with exit code {process.returncode}")
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.URLError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"infinity_emb was not ready after {START_LIMIT_S} s")


def _embed(url: str, sentences: list[str]) -> NDArray[np.float32]:
    request = urllib.request.Request(url, embeddings_request(sentences), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answers = json.load(response)["data"]
    return np.stack([np.frombuffer(base64.b64decode(answer["embedding"]), np.float32) for answer in answers])
