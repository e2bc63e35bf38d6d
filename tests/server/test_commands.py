"""The client's commands against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sentriton import SentenceEncoder, __version__
from tests.commands import run
from tests.server.conftest import RunningServer

TEXTS = ["첫 문장입니다.", "두 번째 문장입니다."]


def test_embed_prints_json_lines(server: RunningServer, encoder: SentenceEncoder) -> None:
    result = run("embed", *TEXTS, "--url", server.url)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["sentence"] for row in rows] == TEXTS
    np.testing.assert_allclose([row["embedding"] for row in rows], encoder.encode(TEXTS), atol=1e-5)


def test_embed_reads_a_file_and_writes_npy(server: RunningServer, encoder: SentenceEncoder, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    result = run("embed", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.npy", "--url", server.url)
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), encoder.encode(TEXTS), atol=1e-5)


def test_embed_reads_standard_input_and_writes_jsonl(server: RunningServer, tmp_path: Path) -> None:
    result = run("embed", "--output", tmp_path / "out.jsonl", "--url", server.url, input="\n".join(TEXTS))
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["sentence"] for line in lines] == TEXTS


def test_an_output_of_another_kind_is_refused_before_anything_is_sent() -> None:
    result = run("embed", "x", "--output", "out.xlsx", "--url", "127.0.0.1:9")
    assert result.returncode == 1
    assert "out.xlsx" in result.stderr
    assert ".npy, .jsonl" in result.stderr


def test_similarity_prints_a_matrix(server: RunningServer, encoder: SentenceEncoder) -> None:
    result = run("similarity", *TEXTS, "--json", "--url", server.url)
    assert result.returncode == 0, result.stderr
    embeddings = encoder.encode(TEXTS)
    scores = json.loads(result.stdout)["similarity"]
    np.testing.assert_allclose(scores, encoder.similarity(embeddings, embeddings), atol=1e-5)
    assert f"{scores[0][1]:.3f}" in run("similarity", *TEXTS, "--url", server.url).stdout


def test_info_shows_the_served_model(server: RunningServer, encoder: SentenceEncoder) -> None:
    shown = run("info", "--url", server.url).stdout
    assert encoder.manifest.name in shown
    assert encoder.manifest.fingerprint in shown
    assert all(name in shown for name in encoder.prompts)
    assert json.loads(run("info", "--json", "--url", server.url).stdout)["dimension"] == encoder.manifest.dimension


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout == f"sentriton {__version__}\n"


def test_health_tells_serving_from_unreachable(server: RunningServer) -> None:
    healthy = run("health", "--url", server.url)
    assert healthy.returncode == 0, healthy.stderr
    assert "canary cosine 1.000000" in healthy.stdout
    nobody = run("health", "--url", "127.0.0.1:9")
    assert nobody.returncode == 2
    assert "unreachable" in nobody.stderr
    one_of_two = run("health", "--url", f"{server.url},127.0.0.1:9")
    assert one_of_two.returncode == 2
    assert one_of_two.stdout == healthy.stdout
