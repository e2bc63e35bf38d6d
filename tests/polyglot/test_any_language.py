"""A caller that knows the proto file and nothing of Sentriton's code: the lines in README.md and docs/protocol.md, in a
process of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.polyglot.conformance import Conformance
from tests.server.conftest import RunningServer
from tests.snippets import blocks

# After the page's lines: their answers, and that no module of Sentriton's or Triton's client helped them.
REPORT = """
import pathlib, sys
assert not {"sentriton", "tritonclient", "numpy"} & set(sys.modules), "the caller knows more than the proto file"
pathlib.Path("received").write_bytes(response.raw_output_contents[0])
"""


def section_of(page: str) -> tuple[str, str, str]:
    """The command that generates, the lines of code, and their output."""
    section = (ROOT / page).read_text(encoding="utf-8").split("## From any language\n")[1].split("\n## ")[0]
    (command,), (code,), (printed,) = (
        re.findall(rf"```{kind}\n(.*?)```", section, re.S) for kind in ("console", "python", "text")
    )
    return command, code, printed


def test_the_pages_have_the_same_lines() -> None:
    assert section_of("README.md") == section_of("docs/protocol.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the messages that the command of the page generates."""
    command, _, _ = section_of("README.md")
    generate = [line.removeprefix("$ ") for line in command.splitlines() if "grpc_tools.protoc" in line]
    assert len(generate) == 1
    arguments = generate[0].replace("PATH_TO_SENTRITON", str(ROOT)).split()
    assert arguments[0] == "python"
    subprocess.run([sys.executable, *arguments[1:]], cwd=tmp_path, env=environment(), check=True)
    assert sorted(path.name for path in (tmp_path / "inference").iterdir()) == [
        "inference_pb2.py",
        "inference_pb2_grpc.py",
    ]
    return tmp_path


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def output_of(code: str, server: RunningServer, folder: Path) -> str:
    script = folder / "caller.py"
    script.write_text(code.replace("localhost:8001", server.url) + REPORT, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_readmes_ten_lines_embed_text(server: RunningServer, conformance: Conformance, folder: Path) -> None:
    _, code, printed = section_of("README.md")
    assert len([line for line in code.splitlines() if line]) <= 10
    assert output_of(code, server, folder) == printed
    received = np.frombuffer((folder / "received").read_bytes(), "<f4").reshape(2, -1)
    texts = re.findall(r'"([^"]+)"', next(line for line in code.splitlines() if line.startswith("texts = ")))
    places = [conformance.texts.index(text) for text in texts]
    conformance.assert_equal(received, conformance.vectors[places])


def test_the_lines_for_production_continue_them(server: RunningServer, folder: Path) -> None:
    first, then, _ = blocks(ROOT / "docs/protocol.md", "python")  # tests/server/test_security.py runs the last one
    assert output_of(first.code + then.code, server, folder) == f"{first.output}{then.output}"
