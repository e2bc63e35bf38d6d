"""`sentriton evaluate` and `export --evaluate` against sentence-transformers' own evaluator, on KLUE-STS dev."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from sentriton import SentenceEncoder
from sentriton.evaluation import FIGURES
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests import commands
from tests.server.conftest import RunningServer


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, timeout_s=240)


def first_pairs(data: Path, count: int, folder: Path) -> Path:
    path = folder / "pairs.json"
    path.write_text(json.dumps(json.loads(data.read_text(encoding="utf-8"))[:count]), encoding="utf-8")
    return path


def test_fp32_equals_the_evaluator_and_the_checkpoint_in_process(
    server: RunningServer, klue_pairs: Path, evaluator_figures: dict[str, float], tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    result = run(
        "evaluate", klue_pairs, "--url", server.url, "--checkpoint", BUNDLED_CHECKPOINT, "--json", "--plot", plot
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["pairs"] == 519
    assert report["precision"] == "fp32"
    for column in ("service", "checkpoint"):
        assert report[column] == pytest.approx(evaluator_figures, abs=1e-4)
        assert tuple(report[column]) == FIGURES
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "another model" not in result.stderr


def test_the_table_shows_the_figures(
    server: RunningServer, klue_pairs: Path, evaluator_figures: dict[str, float]
) -> None:
    result = run("evaluate", klue_pairs, "--url", server.url)
    assert result.returncode == 0, result.stderr
    for name in FIGURES:
        (line,) = (line for line in result.stdout.splitlines() if f" {name} " in line)
        assert float(line.split("│")[2]) == pytest.approx(evaluator_figures[name], abs=1e-4)


def test_export_shows_the_quality_of_every_precision(klue_pairs: Path, tmp_path: Path) -> None:
    some = first_pairs(klue_pairs, 64, tmp_path)
    result = run("export", BUNDLED_CHECKPOINT, tmp_path / "repository", "--device", "cpu", "--evaluate", some)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    (heading,) = (line for line in lines if "sentence-transformers" in line and "┃" in line)
    assert [name.strip() for name in heading.split("┃")[2:-1]] == ["sentence-transformers", "fp32", "bf16", "int8"]
    (line,) = (line for line in lines if " spearman_cosine " in line)
    reference, fp32, bf16, int8 = (float(value) for value in line.split("│")[2:-1])
    assert 0.3 < reference < 1
    assert fp32 == pytest.approx(reference, abs=1e-4)
    assert bf16 == pytest.approx(reference, abs=0.01)  # 64 pairs: one that changes places weighs more
    assert int8 == pytest.approx(reference, abs=0.02)


def test_another_checkpoint_is_pointed_out(
    server: RunningServer, encoder: SentenceEncoder, klue_pairs: Path, tmp_path: Path
) -> None:
    model = SentenceTransformer(str(BUNDLED_CHECKPOINT), device="cpu")
    model[0].auto_model.embeddings.word_embeddings.weight.data.mul_(1.01)
    model.save(str(tmp_path / "other"), create_model_card=False)
    some = first_pairs(klue_pairs, 8, tmp_path)
    result = run("evaluate", some, "--url", server.url, "--checkpoint", tmp_path / "other")
    assert result.returncode == 0, result.stderr
    assert f"another model than the served {encoder.manifest.name}" in result.stderr


def test_a_malformed_row_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n가,나,1\n가,나,많이\n", encoding="utf-8")
    result = run("evaluate", tmp_path / "pairs.csv", "--url", "127.0.0.1:9")
    assert result.returncode == 1
    assert "pairs.csv, line 3: score is '많이'; it must be a number" in result.stderr
