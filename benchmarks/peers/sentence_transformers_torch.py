"""sentence-transformers in process, with its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.peers import Encode, Job

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    device = "cuda" if job.device == "gpu" else "cpu"
    model = SentenceTransformer(str(job.checkpoint), device=device, model_kwargs={"dtype": DTYPES[job.precision]})

    yield lambda sentences, batch_size: model.encode(sentences, batch_size=batch_size)
