"""CTranslate2's encoder in process, with the batches and the mean pooling of sentence-transformers. On a CPU it has
fp32 and int8, with int8 weights and a scale for each token's activations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.converters import TransformersConverter
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from benchmarks.peers import Encode, Job

COMPUTE_TYPES = {"fp32": "float32", "int8": "int8_float32"}


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    folder = job.scratch / "ctranslate2"
    if not folder.exists():
        _convert(job.older_checkpoint, folder)
    # Its default is at most four threads.
    cores = len(os.sched_getaffinity(0))
    encoder = ctranslate2.Encoder(str(folder), compute_type=COMPUTE_TYPES[job.precision], intra_threads=cores)
    tokenizer = Tokenizer.from_file(str(job.older_checkpoint / "tokenizer.json"))

    def encode(sentences: list[str], batch_size: int) -> NDArray[np.float32]:
        tokens = [encoding.ids for encoding in tokenizer.encode_batch_fast(sentences)]
        longest_first = sorted(range(len(tokens)), key=lambda at: -len(tokens[at]))
        embeddings = np.empty((len(tokens), 0), np.float32)
        for start in range(0, len(tokens), batch_size):
            batch = longest_first[start : start + batch_size]
            hidden = np.asarray(encoder.forward_batch([tokens[at] for at in batch]).last_hidden_state)
            if not embeddings.size:
                embeddings = np.empty((len(tokens), hidden.shape[-1]), np.float32)
            for at, row in zip(batch, hidden, strict=True):
                embeddings[at] = row[: len(tokens[at])].mean(axis=0)
        return embeddings

    yield encode


def _convert(checkpoint: Path, folder: Path) -> None:
    """Write CTranslate2's form of a checkpoint to `folder`."""
    # It requires one embedding per token of the tokenizer, but our checkpoints have more.
    model = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model.resize_token_embeddings(len(tokenizer))
    fitting = folder.with_name("ctranslate2-checkpoint")
    model.save_pretrained(fitting)
    tokenizer.save_pretrained(fitting)
    TransformersConverter(str(fitting)).convert(str(folder))
