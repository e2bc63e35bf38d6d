"""The commands show sentences, names and prompts as they are: square brackets and colons are no markup."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import run
from tests.small_server import SmallServer

TEXTS = ["w1 [/b]", "w2 [red]", "w3 :smile:"]


def test_similarity_shows_the_sentences(server: SmallServer) -> None:
    shown = run("similarity", *TEXTS, "--url", server.url)
    assert shown.returncode == 0, shown.stderr
    assert [text for text in TEXTS if text not in shown.stdout] == []


def test_info_shows_names_and_prompts(server: SmallServer) -> None:
    server.manifest |= {"name": "[/x]", "prompts": {"q": "[bold]query:[/bold] ", "z": ":smile:"}}
    shown = run("info", "--url", server.url)
    assert shown.returncode == 0, shown.stderr
    assert "[/x]" in shown.stdout
    assert "q ('[bold]query:[/bold] '), z (':smile:')" in shown.stdout


def test_evaluate_shows_the_name_of_the_file(server: SmallServer, tmp_path: Path) -> None:
    path = tmp_path / "[b]pairs[c].csv"
    path.write_text("sentence1,sentence2,score\nw0,w1,1\nw2,w3,2\nw0,w9,1\n")
    shown = run("evaluate", path, "--url", server.url)
    assert shown.returncode == 0, shown.stderr
    assert "3 pairs of [b]pairs[c].csv" in shown.stdout


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_numbers_beyond_all_others_are_named(server: SmallServer, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.json":
        path.write_text(f'[{{"sentence1": "w1", "sentence2": "w2", "score": {10**400}}}]')
    else:
        times = pa.array([2**62], pa.timestamp("us"))
        pq.write_table(pa.table({"sentence1": ["w1"], "sentence2": ["w2"], "score": [1], "time": times}), path)
    said = run("evaluate", path, "--url", server.url).stderr
    assert said.startswith("error: ")
    assert "Traceback" not in said
