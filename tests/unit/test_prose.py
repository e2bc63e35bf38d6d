"""The prose linter finds sentences against the rules, in Markdown and in the texts of code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from docs.literals import messages
from docs.prose_of_code import faults, texts
from tests.conftest import ROOT, cannot_run

PROSE = ROOT / "docs/prose"
LINTER = PROSE / "node_modules/.bin/textlint"
LONG = " ".join(["word"] * 26)
# A sentence against the rules, and a good one with the same content.
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


CODE = '''\
"""Sends what it has."""

LIMIT = setting(
    "The rest is sent again. "
    "It has a default.",
)


def send(rows: int) -> None:
    """Sends rows.

    >>> send(what)

    The training goes on.
    """
    # There is a comment.
    if rows > 8:
        raise ValueError(f"there is a limit of {rows} rows")
    print(rows, f"{rows + 1} rows lie in what {LIMIT} names", help="nobody")
    "there is a string that is shown to no reader"
'''


def needs_linter() -> None:
    if not LINTER.exists():
        cannot_run("needs the linter of the prose: run `make prose`, which needs npm")


def lint(text: str, folder: Path) -> list[int]:
    """The lines with faults of a page."""
    needs_linter()
    (folder / "page.md").write_text(text, encoding="utf-8")
    command = [LINTER, "--config", "textlint.json", "--format", "unix", folder / "page.md"]
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


def test_a_sentence_is_as_long_on_several_lines(tmp_path: Path) -> None:
    most = LONG.removesuffix(" word")
    assert lint(f"{most}.\n".replace(" ", "\n", 9), tmp_path) == []
    assert lint(f"{LONG}.\n".replace(" ", "\n", 9), tmp_path) == [1]


def test_faults_in_texts_of_code_are_found_at_their_lines(tmp_path: Path) -> None:
    needs_linter()
    path = tmp_path / "code.py"
    path.write_text(CODE, encoding="utf-8")
    found = [int(line) for line in re.findall(r"^\S+:(\d+): ", "\n".join(faults([path])), re.M)]
    assert found == [1, 4, 14, 16, 18, 19]


def test_a_message_has_a_word_for_each_placeholder_and_is_read_in_parts() -> None:
    given, allowed = texts('raise ValueError("a rate of " f"{rate!r} per {unit + 1:.2f}s; " "allowed is 1")')
    assert given.lines == [(1, "a rate of VALUE per VALUEs")]
    assert allowed.lines == [(1, "allowed is 1")]


def test_a_message_in_another_language_is_one_text_with_its_values() -> None:
    code = {
        "go": 'return fail("a row of %d " +\n\t"tokens; there is %v", rows, "and more words")',
        "java": 'throw fail("a row of " + rows.get(0) + " tokens; there is " + limit, "and more words");',
        "typescript": 'throw fail(`a row of ${rows} tokens; ` + "there is " + limit, "and more words");',
        "rust": 'fail(format!("a row of {rows:?} \\\n    tokens; there is {}", limit), "and more words")',
        "cpp": 'fail("a row of " + std::to_string(rows) + " tokens; " "there is " + limit, "and more words");',
    }
    for lexer, line in code.items():
        found = [text.removesuffix(" VALUE") for _, text in messages(Path("code"), line, lexer)]
        assert found == ["a row of VALUE tokens", "there is", "and more words"], lexer
        assert not list(messages(Path("tests/code"), line, lexer))
