"""RoBERTa-large's architecture with random weights on a real Triton: parity, time to ready, memory (make
test-large).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from sentriton import SentenceEncoder
from sentriton_server.encoder import PRECISIONS
from sentriton_server.export import export
from sentriton_server.parity import compare
from sentriton_server.serving import TritonServer
from tests.checkpoints import make_checkpoint
from tests.ports import FREE_PORTS
from tests.server.test_parity import embed_as_text

pytestmark = [pytest.mark.large, pytest.mark.timeout(3600)]
GIB = 1 << 30


@pytest.fixture(scope="module")
def large_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(
        tmp_path_factory.mktemp("large"),
        vocab_size=32000,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_seq_length=512,
        initializer_range=0.02,
    )


@pytest.fixture(scope="module")
def expected(large_checkpoint: Path, klue_sentences: list[str]) -> NDArray[np.float32]:
    """The embeddings of the sentences by sentence-transformers. They take minutes, so once for all precisions."""
    embeddings: NDArray[np.float32] = SentenceTransformer(str(large_checkpoint), device="cpu").encode(klue_sentences)
    return embeddings


def unique_memory(server: TritonServer) -> int:
    """Bytes of Triton and its stubs, pages that they share counted once."""
    assert server.process is not None
    triton = psutil.Process(server.process.pid)
    return sum(process.memory_full_info().pss for process in [triton, *triton.children(recursive=True)])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_roberta_large(
    precision: str, large_checkpoint: Path, expected: NDArray[np.float32], klue_sentences: list[str], tmp_path: Path
) -> None:
    export(large_checkpoint, tmp_path / "repository", precision=precision, device="cpu")
    weights = (tmp_path / "repository/encoder/1/model.pt").stat().st_size
    server = TritonServer(tmp_path / "repository", FREE_PORTS)
    started = time.monotonic()
    with server, SentenceEncoder(server.url, timeout_s=1800, priority="bulk") as encoder:
        ready_s = time.monotonic() - started
        reports = [
            compare(encoder.encode(klue_sentences, batch_size=16), expected),
            compare(embed_as_text(server.url, klue_sentences), expected),
        ]
        memory = unique_memory(server)
    report = min(reports, key=lambda report: report.min_cosine)
    print(
        f"\nRoBERTa-large {precision}: ready in {ready_s:.1f} s, memory {memory / GIB:.2f} GiB for weights of "
        f"{weights / GIB:.2f} GiB, minimum cosine {report.min_cosine:.7f} of {report.sentences}"
    )
    assert report.min_cosine >= PRECISIONS[precision].min_cosine
    assert ready_s < 60
    assert memory < 1.6 * weights + 1.5 * GIB
