"""An encoder that computes a row of thousands of tokens is slow, but not hung."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sentriton_server.repository import read_config
from sentriton_server.serving.patience import Patience

# embed_tokens sends no batch while the encoder computes one.
AT_A_BATCH = ["embed_tokens", "encoder"]


def test_a_large_model_with_long_rows_has_minutes_and_a_small_one_none(repository: Path, tmp_path: Path) -> None:
    assert Patience(repository).batch_s < 1
    large = tmp_path / "repository"
    shutil.copytree(repository, large)
    with (large / "encoder/1/model.pt").open("r+b") as file:
        file.truncate(2_270_000_000)  # XLM-RoBERTa-large at fp32
    config = large / "encoder/config.pbtxt"
    tokens = read_config(repository, "encoder").max_batch_size
    config.write_text(config.read_text().replace(f"max_batch_size: {tokens}", "max_batch_size: 8192"))
    assert Patience(large).batch_s == pytest.approx(372, abs=1)


def test_it_ends_when_no_batch_takes_so_long(repository: Path) -> None:
    patience = Patience(repository)
    patience.batch_s = 100.0
    patience.note_work(1000.0)
    assert patience.excuses(AT_A_BATCH, 1099.0)
    assert patience.excuses(["encoder"], 1099.0)
    assert not patience.excuses(AT_A_BATCH, 1101.0)
    patience.note_work(1101.0)
    assert patience.excuses(AT_A_BATCH, 1200.0)


@pytest.mark.parametrize("dead", ["embed_text", "pooling"])
def test_it_is_for_the_encoder_alone(dead: str, repository: Path) -> None:
    patience = Patience(repository)
    patience.batch_s = 100.0
    patience.note_work(1000.0)
    assert not patience.excuses([*AT_A_BATCH, dead], 1001.0)
    assert not patience.excuses(["embed_tokens"], 1001.0)
