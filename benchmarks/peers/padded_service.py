"""The usual Triton repository (`benchmarks.padded`) with its usual client. The client pads every request to one length,
and has several requests in flight through tritonclient.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer
from tritonclient.grpc import InferenceServerClient, InferInput

from benchmarks.padded import MODEL, add_padded_model
from benchmarks.peers import Encode, Job
from benchmarks.products import DTYPES
from sentriton_server.export import export
from sentriton_server.repository import record_files
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer

CALLERS = 4


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    tokenizer = AutoTokenizer.from_pretrained(job.checkpoint)
    longest = max(map(len, tokenizer(job.sentences)["input_ids"]))
    repository = job.scratch / "padded"
    # A small export, without which Triton is not ready.
    export(BUNDLED_CHECKPOINT, repository, precision="fp32", device="cpu", overwrite=True)
    add_padded_model(repository, job.checkpoint, longest, DTYPES[job.precision], job.device)
    record_files(repository)
    with (
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
        InferenceServerClient(server.url) as client,
        ThreadPoolExecutor(CALLERS) as callers,
    ):

        def embed(sentences: list[str]) -> NDArray[np.float32]:
            rows = tokenizer(sentences, padding="max_length", max_length=longest, truncation=True, return_tensors="np")
            inputs = []
            for name in ("input_ids", "attention_mask"):
                inputs.append(InferInput(name, rows[name].shape, "INT64"))
                inputs[-1].set_data_from_numpy(rows[name].astype(np.int64))
            return client.infer(MODEL, inputs).as_numpy("sentence_embedding")

        def encode(sentences: list[str], batch_size: int) -> NDArray[np.float32]:
            requests = [sentences[start : start + batch_size] for start in range(0, len(sentences), batch_size)]
            return np.concatenate(list(callers.map(embed, requests)))

        yield encode
