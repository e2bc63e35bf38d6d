"""The linter of the prose finds the sentences that it is for (`make prose` runs it over all Markdown files)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conftest import ROOT, cannot_run

PROSE = ROOT / "docs/prose"
LONG = " ".join(["word"] * 26)
# A sentence against the rules, and one that says the same by them.
PAIRS = [
    (f"{LONG}.", LONG.removesuffix(" word") + "."),
    (f"| a |\n|---|\n| {LONG}. |", f"`{LONG}` is code."),
    ("It sends what it has.", "What does it send?"),
    ("It embeds 20 sentences a second.", "It embeds 20 sentences per second."),
    ("The client asks again.", "The client retries."),
    ("The file lies in the folder.", "The file is in the folder."),
    ("The training goes on.", "The training resumes."),
    ("The request is turned away.", "The request is rejected."),
    ("There is one queue.", "The server has one queue."),
    ("It waits – and then it sends.", "It waits and then sends."),
]


def lint(text: str, folder: Path) -> list[int]:
    """The lines with faults of a page."""
    linter = PROSE / "node_modules/.bin/textlint"
    if not linter.exists():
        cannot_run("needs the linter of the prose: run `make prose`, which needs npm")
    (folder / "page.md").write_text(text, encoding="utf-8")
    command = [linter, "--config", "textlint.json", "--format", "unix", folder / "page.md"]
    done = subprocess.run(command, cwd=PROSE, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return sorted({int(line) for line in re.findall(r"^\S+?:(\d+):\d+: .* \[Error/", done.stdout, re.M)})


def test_sentences_against_the_rules_are_found(tmp_path: Path) -> None:
    page, expected = "", []
    for bad, good in PAIRS:
        page += f"{good}\n\n{bad}\n"
        expected.append(page.count("\n"))
        page += "\n"
    assert lint(page, tmp_path) == expected
