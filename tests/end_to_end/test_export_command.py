"""`sentriton export` in a process of its own: which operators it finds there, and its report."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from sentriton_server.repository import MANIFEST
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.commands import SENTRITON
from tests.conftest import ROOT
from tests.snippets import blocks

BROKEN_COMPILER = '#!/bin/sh\nfor output; do :; done\necho "no library" > "$output"\n'


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [(None, "no C++ compiler is installed; install g++"), (BROKEN_COMPILER, "cannot load ")],
    ids=["missing", "broken"],
)
def test_without_operators_of_its_own_an_export_has_torchs(compiler: str | None, reason: str, tmp_path: Path) -> None:
    path = str(tmp_path)
    if compiler is not None:
        (tmp_path / "g++").write_text(compiler)
        (tmp_path / "g++").chmod(0o755)
        path = f"{tmp_path}:/usr/bin:/bin"
    environment = {**os.environ, "SENTRITON_CACHE": str(tmp_path), "PATH": path}
    command = ["export", str(BUNDLED_CHECKPOINT), str(tmp_path / "repository"), "--precision", "int8"]
    done = subprocess.run([SENTRITON, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert f"operators torch (auto: {reason}" in done.stderr
    assert json.loads((tmp_path / "repository" / MANIFEST).read_bytes())["operators"] == "torch"
    assert not list((tmp_path / "repository").rglob("*.so"))
    report = done.stdout.replace(str(tmp_path / "repository"), "path/to/repository")
    (shown,) = (block.code for block in blocks(ROOT / "docs/encoders.md", "text") if block.code.startswith("exported "))
    assert words(report) == words(shown.replace("fp32", "int8"))


def test_int8_without_its_instructions_is_less_exact_and_within_its_bound(tmp_path: Path) -> None:
    cosines = []
    for instructions in ("DEFAULT", "AVX2"):
        repository = tmp_path / instructions
        command = ["export", str(BUNDLED_CHECKPOINT), str(repository), "--precision", "int8", "--operators", "torch"]
        environment = {**os.environ, "SENTRITON_CACHE": str(tmp_path), "ONEDNN_MAX_CPU_ISA": instructions}
        done = subprocess.run([SENTRITON, *command], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        cosines.append(json.loads((repository / MANIFEST).read_bytes())["parity"]["min_cosine"])
    assert 0.99 < cosines[1] <= cosines[0]


def words(report: str) -> list[str]:
    """The words of a report, with N for each number."""
    return re.sub(r"\b\d[\d.]*", "N", report).split()
