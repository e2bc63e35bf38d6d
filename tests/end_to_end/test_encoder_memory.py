"""The memory that the largest batch takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from transformers import RobertaConfig, RobertaModel

from sentriton_server.encoder import PRECISIONS, compile_encoder, read_encoder
from tests.conftest import ROOT

PEAK_OF_A_FULL_BATCH = """
import sys, torch
from benchmarks.growth import growth

module = torch.jit.load(sys.argv[1])
ids = torch.full([64 * 512, 1], 9, dtype=torch.int32)
row = torch.arange(64, dtype=torch.int32).repeat_interleave(512)[:, None]
key = torch.zeros(64 * 512, 1, dtype=torch.int64)
with torch.inference_mode(), torch.jit.optimized_execution(False):
    module(ids[:8], row[:8], key[:8])
    with growth() as grown:
        module(ids, row, key)
print(grown.mib)
"""


def test_64_rows_of_512_tokens_take_little_memory_beyond_the_weights(tmp_path: Path) -> None:
    """In RoBERTa-large's widths; one layer, since layers take turns in the same memory."""
    config = RobertaConfig(
        vocab_size=20,
        hidden_size=1024,
        num_hidden_layers=1,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
    )
    _, encoder = read_encoder(RobertaModel(config, add_pooling_layer=False), None)
    compile_encoder(encoder, PRECISIONS["int8"]).save(str(tmp_path / "model.pt"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PEAK_OF_A_FULL_BATCH, str(tmp_path / "model.pt")],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    token_embeddings_mib = 64 * 512 * 1024 * 4 / 2**20
    assert token_embeddings_mib <= float(done.stdout) < 512
