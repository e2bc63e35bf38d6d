"""The client, its commands, the launcher, and all models except the encoder work without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import SENTRITON
from tests.conftest import ROOT
from tests.small_server import SmallServer

ABSENT = ("torch", "transformers", "sentence_transformers")
# The module of Triton's Python backend, which exists in its processes alone.
BACKEND = "triton_python_backend_utils"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a process that finds these packages, and cannot import them."""
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name!r}', name={name!r})\n")
    (tmp_path / f"{BACKEND}.py").write_text("class TritonModelException(Exception): ...\n")
    return {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}


def run(environment: dict[str, str], *command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=environment, timeout=60, check=False, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["health", "--url", "127.0.0.1:9"], 2),
        (["embed", "--help"], 0),
        (["--help"], 0),
        (["serve", "--tls-key", "missing.pem"], 1),
    ],
)
def test_commands_need_no_torch(environment: dict[str, str], arguments: list[str], code: int) -> None:
    result = run(environment, SENTRITON, *arguments)
    assert result.returncode == code, result.stderr
    assert "torch" not in result.stderr


def test_embedding_needs_no_torch(environment: dict[str, str], tmp_path: Path) -> None:
    with SmallServer() as server:
        result = run(environment, SENTRITON, "embed", "w1", "--output", tmp_path / "out.npy", "--url", server.url)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["sentriton_server.serving", "sentriton_server.serving.supervisor"])
def test_serving_a_repository_needs_no_torch(environment: dict[str, str], module: str) -> None:
    result = run(environment, sys.executable, "-c", f"import {module}")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("model", sorted(path.parts[-3] for path in (ROOT / "model_repository").glob("*/1/model.py")))
def test_models_of_a_repository_need_no_torch(environment: dict[str, str], model: str) -> None:
    program = f"from sentriton_server.resources import load_model_code; load_model_code({model!r}, 'model')"
    result = run(environment, sys.executable, "-c", program)
    assert result.returncode == 0, result.stderr
