"""Measures the quality of a checkpoint at every precision of a device."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentriton.evaluation import ScoredPair, measure
from sentriton.progress import progress_bar
from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.encoder import PRECISIONS, compile_encoder
from sentriton_server.module_file import save_module
from sentriton_server.parity import ExportedModel
from sentriton_server.repository import read_in_bf16, read_key, read_manifest, read_operators

_CHUNK_SENTENCES = 256
REFERENCE = "sentence-transformers"


def quality_by_precision(
    source: str | Path,
    repository: Path,
    device: str,
    pairs: Sequence[ScoredPair],
    say: Callable[[str], None],
    *,
    allow_pickle: bool = False,
) -> dict[str, dict[str, float]]:
    """The figures of sentence-transformers and of each precision, for an exported repository of `source`.

    Everything runs in this process, without a default prompt. `say` gets a message per stage.
    """
    sentences = [*(pair.sentence1 for pair in pairs), *(pair.sentence2 for pair in pairs)]
    scores = [pair.score for pair in pairs]
    say(f"embedding {len(pairs):,} pairs with {REFERENCE}")
    options: dict[str, Any] = {
        "allow_pickle": allow_pickle,
        "max_seq_length": read_manifest(repository).max_seq_length,
    }
    model = read_checkpoint(source, **options).model
    # In chunks of sentences of similar length, so that a large data set shows its progress.
    order = sorted(range(len(sentences)), key=lambda place: -len(sentences[place]))
    chunks = []
    with progress_bar(True, len(sentences)) as advance:
        for start in range(0, len(sentences), _CHUNK_SENTENCES):
            texts = [sentences[place] for place in order[start : start + _CHUNK_SENTENCES]]
            chunks.append(model.encode(texts, prompt="", show_progress_bar=False))
            advance(start + len(texts))
    embeddings = np.concatenate(chunks)[np.argsort(order)]
    del model
    operators, in_bf16 = read_operators(repository) == "sentriton", read_in_bf16(repository)
    figures = {REFERENCE: measure(embeddings[: len(pairs)], embeddings[len(pairs) :], scores)}
    for precision in PRECISIONS.values():
        if device not in precision.devices:
            continue
        say(f"embedding {len(pairs):,} pairs in {precision.name}")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.pt"
            # Each precision reads a new encoder, since compiling changes it.
            encoder = read_checkpoint(source, **options).encoder
            encoder.key = read_key(repository)
            module = compile_encoder(encoder, precision, device, operators=operators, in_bf16=in_bf16)
            save_module(module, path)
            del encoder
            with progress_bar(True, len(sentences)) as advance:
                embeddings = ExportedModel(repository, device, path).encode(sentences, advance=advance)
        figures[precision.name] = measure(embeddings[: len(pairs)], embeddings[len(pairs) :], scores)
    return figures
