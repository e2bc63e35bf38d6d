"""The programs in Python of all pages print their output, and so does the demo."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.conftest import ROOT
from tests.server.conftest import RunningServer
from tests.snippets import PAGES, Block, blocks

CARD = BUNDLED_CHECKPOINT / "README.md"
# Words of programs that other tests run, by page: tests/polyglot/test_any_language.py, tests/gateway/test_tools.py,
# tests/unit/test_checkpoint_kinds.py, tests/server/test_security.py, tests/end_to_end/test_training.py, and the last
# test here.
ELSEWHERE = {
    ROOT / "README.md": "from inference import",
    ROOT / "docs/protocol.md": "inference_pb2",
    ROOT / "docs/encoders.md": "from peft import",
    ROOT / "docs/gateway.md": "openai import",
    ROOT / "gateway/README.md": "from openai import",
    ROOT / "docs/serving.md": "root_certificates=",
    ROOT / "docs/train.md": "from datasets import",
    CARD: "from sentence_transformers import",
}
FOUND = [program for page in PAGES for program in blocks(page, "python")]
# Each once: README.md, README.ko.md and the quick start have the same program.
DIFFERENT = {
    (program.code, program.output): program
    for program in FOUND
    if program.page not in ELSEWHERE or ELSEWHERE[program.page] not in program.code
}


@pytest.mark.parametrize("program", DIFFERENT.values(), ids=str)
def test_a_program_prints_its_output(program: Block, server: RunningServer, tmp_path: Path) -> None:
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


def test_the_card_of_the_bundled_model_has_its_figures(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two programs run one after the other, and both print the matrix that follows."""
    monkeypatch.chdir(BUNDLED_CHECKPOINT.parent)
    printed: list[object] = []
    names = {"print": printed.append}
    for program in blocks(CARD, "python"):
        exec(program.code.replace("localhost:8001", server.url), names)
    (matrix,) = blocks(CARD, "text")
    expected = [[float(number) for number in row.split()] for row in matrix.code.splitlines()]
    assert len(printed) == 2
    for found in printed:
        np.testing.assert_allclose(np.asarray(found), expected, atol=6e-4, rtol=0)
