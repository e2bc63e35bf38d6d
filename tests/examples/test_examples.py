"""The examples, as their users run them: each a program of its own before a real server. Ray and Spark have theirs in
tests/deploy.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentriton import SentenceEncoder
from tests.conftest import ROOT, cannot_run, public_data
from tests.examples.postgresql import running_postgresql
from tests.gateway.conftest import running_gateway
from tests.ports import FREE_PORTS
from tests.server.conftest import RunningServer, serving

EXAMPLES = ROOT / "examples"
HERE = {"first_steps.py", "tasks.py", "large_file.py", "tls_and_key.py", "langchain_search.py", "llama_index_search.py"}
HERE |= {"faiss_search.py", "postgresql.py", "gateway.sh"}
ELSEWHERE = {"ray_data.py", "spark.py"}  # tests/deploy/test_beyond_one_machine.py


def run(example: str, *arguments: object, url: str = "", **variables: str) -> str:
    """The output of an example. It must succeed."""
    program = ["sh"] if example.endswith(".sh") else [sys.executable]
    done = subprocess.run(
        [*program, str(EXAMPLES / example), *map(str, arguments)],
        env={**os.environ, "SENTRITON_URL": url, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")} == HERE | ELSEWHERE


def test_first_steps(server: RunningServer) -> None:
    first, nearest, *_ = run("first_steps.py", url=server.url).splitlines()
    assert first == "3 vectors of 256 numbers"
    assert nearest.endswith("내일은 전국에 비가 내리겠습니다.")


def test_tasks(server: RunningServer) -> None:
    assert run("tasks.py", url=server.url).startswith("200 tasks got a vector of 256 numbers each, in ")


def test_large_file(server: RunningServer, encoder: SentenceEncoder, tmp_path: Path) -> None:
    sentences = [f"{number}번 손님이 남긴 좋은 후기입니다" for number in range(5000)]
    (tmp_path / "corpus.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    run("large_file.py", tmp_path / "corpus.txt", tmp_path / "corpus.npy", url=server.url)
    np.testing.assert_allclose(np.load(tmp_path / "corpus.npy"), encoder.encode(sentences), atol=2e-6)


def test_tls_and_key(tmp_path: Path) -> None:
    """With the certificate that the example's first command makes."""
    if shutil.which("openssl") is None:
        cannot_run("needs openssl; install Debian's package openssl")
    text = (EXAMPLES / "tls_and_key.py").read_text(encoding="utf-8")
    command = re.search(r"openssl req .*", ast.get_docstring(ast.parse(text)) or "")
    assert command is not None
    subprocess.run(command[0], shell=True, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    certificate, key = (str(tmp_path / name) for name in ("server.pem", "server.key"))
    settings = replace(FREE_PORTS, tls_certificate=certificate, tls_key=key, access_key="a-key-of-the-example")
    with serving(None, settings=settings) as running:
        printed = run("tls_and_key.py", running.url, certificate, SENTRITON_ACCESS_KEY="a-key-of-the-example")
    assert "embeds: (256,)" in printed
    assert "with a wrong key: AccessDenied" in printed
    assert "without TLS: " in printed


@pytest.mark.parametrize("example", ["langchain_search.py", "llama_index_search.py"])
def test_frameworks(server: RunningServer, example: str) -> None:
    station, rain = run(example, url=server.url).splitlines()
    assert "-> 숙소가 지하철역에서 아주 가까워요. (" in station
    assert "-> 내일은 전국에 비가 내리겠습니다. (" in rain


def test_faiss(server: RunningServer) -> None:
    printed = run("faiss_search.py", public_data("klue-sts-dev"), url=server.url)
    recall = re.search(r"recall at 10 over \d+ sentences: (\S+)", printed)
    assert recall is not None
    assert float(recall[1]) >= 0.95


def test_postgresql(server: RunningServer) -> None:
    with running_postgresql() as address:
        printed = run("postgresql.py", address, url=server.url)
    assert "-> 숙소가 지하철역에서 아주 가까워요. (" in printed


def test_curl(server: RunningServer, encoder: SentenceEncoder) -> None:
    if shutil.which("curl") is None:
        cannot_run("needs curl; install Debian's package curl")
    with running_gateway(server.url, SENTRITON_GATEWAY_ACCESS_KEY="a-key") as gateway:
        first, answer = run("gateway.sh", gateway.url, SENTRITON_GATEWAY_ACCESS_KEY="a-key").splitlines()
    assert first == f"model: {encoder.manifest.name}"
    texts = ["숙소가 역에서 가까워요.", "지하철역 근처 숙소입니다."]
    found = [each["embedding"] for each in json.loads(answer)["data"]]
    np.testing.assert_allclose(found, encoder.encode(texts, truncate_dim=8), atol=1e-6)
