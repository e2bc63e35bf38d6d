"""The `sentriton` commands of all pages run against a server. Also the line that `serve` prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sentriton import SentenceEncoder
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.commands import SENTRITON
from tests.conftest import ROOT
from tests.server.conftest import RunningServer
from tests.server.serve_command import running
from tests.snippets import PAGES, blocks, commands

LINES = ["첫 문장입니다.", "두 번째 문장입니다."]
# Commands that take a port, minutes or a download: the tests that run them with the same options.
ELSEWHERE = {
    "data": ["tests/unit/test_data_sets.py"],
    "evaluate": ["tests/server/test_evaluate.py"],
    "export": [
        "tests/server/test_evaluate.py",
        "tests/end_to_end/test_export_command.py",
        "tests/server/test_gpu_repository.py",
    ],
    "gateway": ["tests/gateway/conftest.py", "tests/gateway/test_access.py"],
    "serve": [
        "tests/server/test_commands_in_documents.py",
        "tests/server/test_security.py",
        "tests/server/test_serve_command.py",
        "tests/ports.py",
        "tests/gateway/test_beside.py",
    ],
    "train": ["tests/end_to_end/test_klue_sts.py"],
}
EVERY = {shlex.join(words): words[1:] for page in PAGES for words in commands(page) if words[0] == "sentriton"}
# `sentriton data` alone fetches nothing.
HERE = {line: words for line, words in EVERY.items() if words[0] not in ELSEWHERE or words == ["data"]}


@pytest.mark.parametrize("words", HERE.values(), ids=HERE)
def test_a_command_succeeds(words: list[str], server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(LINES), encoding="utf-8")
    encoding = words[words.index("--encoding") + 1] if "--encoding" in words else "utf-8"
    (tmp_path / "reviews.csv").write_text("\n".join(["text", *LINES]), encoding=encoding)
    objects = "\n".join(json.dumps({"text": line}) for line in LINES)
    (tmp_path / "corpus.jsonl").write_text(objects, encoding="utf-8")
    parquet.write_table(pyarrow.table({"text": LINES}), tmp_path / "corpus.parquet")
    environment = {**os.environ, "SENTRITON_URL": server.url}
    done = subprocess.run(
        [SENTRITON, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    if "--output" in words:
        output = tmp_path / words[words.index("--output") + 1]
        assert output.stat().st_size > len(LINES) * 256 * np.float32().nbytes
    else:
        assert done.stdout


@pytest.mark.parametrize("line", sorted(EVERY.keys() - HERE.keys()))
def test_another_test_has_the_options_of_the_others(line: str) -> None:
    command, *arguments = EVERY[line]
    text = "".join((ROOT / test).read_text(encoding="utf-8") for test in ELSEWHERE[command])
    assert all(f'"{word}"' in text for word in arguments if word.startswith("--"))


@pytest.mark.parametrize(("precision", "options"), [("fp32", []), ("int8", ["--precision", "int8"])])
def test_serve_prints_the_line_of_its_page(precision: str, options: list[str]) -> None:
    page = ROOT / "docs/serving.md"
    assert next(commands(page)) == ["sentriton", "serve"]
    (shown,) = (block.code for block in blocks(page, "text") if block.code.startswith("serving "))
    with running(*options) as (_, line, _):
        assert without_numbers(line) == without_numbers(shown).replace("fp32", precision)


def test_requests_continue_without_the_collector_of_their_traces() -> None:
    options = ("--trace-url", "http://127.0.0.1:9/v1/traces", "--trace-rate", "1")  # nothing listens there
    with (
        running(BUNDLED_CHECKPOINT, *options) as (_, line, _),
        SentenceEncoder(line.split(" at ")[1].split()[0]) as encoder,
    ):
        assert [encoder.encode(text).shape for text in LINES] == [(256,)] * len(LINES)


def without_numbers(text: str) -> str:
    return re.sub(r"\b\d[\d.]*", "N", text)
