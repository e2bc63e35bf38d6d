"""Texts of 8,192 tokens: equal to sentence-transformers, in memory that grows with their length and not its square."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from sentriton import SentenceEncoder
from sentriton_server.checkpoint import CheckpointError, read_checkpoint
from sentriton_server.encoder.positions import Rotary
from sentriton_server.export import ParityError, export
from sentriton_server.parity import ExportedModel, compare
from sentriton_server.parity_texts import parity_sentences
from sentriton_server.serving.preflight import GIB, MIB, check_shared_memory
from tests.conftest import ROOT
from tests.encoders.shapes import LONGEST, make_checkpoint
from tests.servers import started

LONG = 8192
# Of MPNet, transformers computes the scores of all pairs of tokens in several copies.
LONG_MPNET = 2048
# The scores of one head are 256 MiB.
MOST_MIB = 200
MEMORY = """
import sys
from pathlib import Path
from benchmarks.growth import growth
from sentriton_server.parity import ExportedModel
model = ExportedModel(Path(sys.argv[1]), "cpu")
model.encode(["the " * 500])
with growth() as grown:
    model.encode(["the " * 9000])
print(int(grown.mib))
"""


def long_checkpoint(folder: Path, model_type: str, longest: int = LONG) -> Path:
    """Two tiny layers with positions for this number of tokens."""
    return make_checkpoint(folder, model_type, max_position_embeddings=longest + 2, num_hidden_layers=2)


def long_texts() -> list[str]:
    return ["한국어 문장 임베딩 the quick brown fox " * 1000, "the quick brown fox", "비가 온다 " * 300]


@pytest.mark.parametrize(
    ("model_type", "operators", "longest"),
    [
        ("xlm-roberta", "auto", LONG),
        ("xlm-roberta", "torch", LONG),
        ("modernbert", "auto", LONG),
        ("mpnet", "auto", LONG_MPNET),
    ],
)
def test_a_row_of_thousands_of_tokens(model_type: str, operators: str, longest: int, tmp_path: Path) -> None:
    folder, repository = long_checkpoint(tmp_path, model_type, longest), tmp_path / "repository"
    manifest = export(folder, repository, device="cpu", operators=operators, max_seq_length=longest)
    assert manifest.max_seq_length == longest
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = longest
    expected = model.encode(long_texts(), batch_size=1, show_progress_bar=False)
    assert compare(ExportedModel(repository, "cpu").encode(long_texts()), expected).min_prefix_cosine >= 1 - 1e-6
    check_shared_memory(repository, free=GIB)
    command = [sys.executable, "-c", MEMORY, str(repository)]
    grown_mib = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert grown_mib < MOST_MIB


def test_it_is_served(tmp_path: Path) -> None:
    folder, repository = long_checkpoint(tmp_path, "xlm-roberta"), tmp_path / "repository"
    export(folder, repository, device="cpu", max_seq_length=LONG)
    with (
        started(repository) as server,
        SentenceEncoder(server.url, timeout_s=120) as encoder,
    ):
        assert max(map(len, encoder.token_ids(long_texts()))) == LONG
        found = encoder.encode(long_texts())
        tokens = encoder.encode(long_texts()[:1], output_value="token_embeddings")
    assert tokens[0].shape[0] == LONG
    assert compare(found, ExportedModel(repository, "cpu").encode(long_texts())).min_cosine >= 1 - 1e-6


def test_a_lower_limit_is_another_model(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "bert")
    whole, lower = read_checkpoint(folder), read_checkpoint(folder, max_seq_length=16)
    assert lower.encoder_spec.max_seq_length == lower.model.max_seq_length == 16
    assert len(lower.tokenizer.encode("the " * 50).ids) == 16
    assert whole.fingerprint != lower.fingerprint
    with pytest.raises(CheckpointError, match=f"max_seq_length 9999 is more than .* allowed are 1 to {LONGEST + 2}"):
        read_checkpoint(folder, max_seq_length=9999)


def test_the_longest_row_counts_in_an_answer_of_token_embeddings(tmp_path: Path) -> None:
    folder = long_checkpoint(tmp_path, "bert")
    export(folder, tmp_path / "repository", device="cpu", max_seq_length=LONG)
    check_shared_memory(tmp_path / "repository", free=(4 * 2 + 2 * 2 + 32) * MIB)


class WithoutFarPlaces(Rotary):
    """Tokens from place 1,200 on are all at this place."""

    def forward(self, positions: Tensor, filling: int) -> Tensor:
        places = torch.nn.functional.pad(positions, [0, filling]).clamp(max=1200).to(torch.float32)
        angles = places.view([1, -1, 1, 1]) * self.frequencies.view([self.frequencies.size(0), 1, 1, -1])
        return torch.stack([angles.cos(), angles.sin()], dim=1) * self.scales.view([-1, 1, 1, 1, 1])


def test_an_error_at_far_places_alone_is_seen_at_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = long_checkpoint(tmp_path, "modernbert")
    manifest = export(folder, tmp_path / "right", device="cpu", max_seq_length=LONG)
    assert manifest.parity["sentences"] == len(parity_sentences()) + 1
    monkeypatch.setattr("sentriton_server.encoder.packed.Rotary", WithoutFarPlaces)
    with pytest.raises(ParityError):
        export(folder, tmp_path / "wrong", device="cpu", max_seq_length=LONG)
    shorter = export(folder, tmp_path / "short", device="cpu", max_seq_length=128)
    assert shorter.parity["sentences"] == len(parity_sentences())
