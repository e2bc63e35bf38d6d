"""Sentriton: a server of an exported repository, and `SentenceEncoder.encode`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from benchmarks.checkpoints import export_once
from benchmarks.peers import Encode, Job
from sentriton import SentenceEncoder
from sentriton_server.serving import ServerSettings, TritonServer


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    repository = export_once(job.checkpoint, job.scratch, precision=job.precision, device=job.device)
    with (
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
        SentenceEncoder(server.url, timeout_s=3600, priority="bulk") as encoder,
    ):

        def encode(sentences: list[str], batch_size: int) -> NDArray[np.float32]:
            return encoder.encode(sentences)

        yield encode
