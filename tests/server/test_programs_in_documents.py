"""The programs in README.md, docs/ and the Python client's README print their output, and so does the demo."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.server.conftest import RunningServer
from tests.snippets import PAGES, Program, programs

# Run by tests/polyglot/test_any_language.py, and by tests/gateway/test_tools.py.
ELSEWHERE = ("from inference import", "from openai import")
FOUND = [program for page in [*PAGES, ROOT / "client/python/README.md"] for program in programs(page)]
# Each once: README.md, README.ko.md and the quick start have the same program.
DIFFERENT = {(program.code, program.output): program for program in FOUND}.values()
HERE = [program for program in DIFFERENT if not any(words in program.code for words in ELSEWHERE)]


@pytest.mark.parametrize("program", HERE, ids=str)
def test_a_program_prints_its_output(program: Program, server: RunningServer, tmp_path: Path) -> None:
    code = program.code.replace("localhost:8001", server.url)
    assert code != program.code, "it calls no server"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert program.output in (None, done.stdout)


def test_the_demo_prints_its_output() -> None:
    command = [sys.executable, "-m", "sentriton_server.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("README.md", "docs/quick-start.md"):
        (output,) = re.findall(r"^```text\n(  1\. .*?)```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
        assert done.stdout.endswith(output), page
