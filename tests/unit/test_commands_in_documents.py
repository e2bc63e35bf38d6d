"""The commands in README.md, docs/ and other Markdown files exist: flags, targets, modules, files and extras."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sentriton.cli import app
from tests.conftest import ROOT
from tests.manifests.command_lines import parse
from tests.snippets import PAGES, commands
from tests.unit.test_documentation import DOCUMENTS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
VARIABLES = set(re.findall(r"^(?:ifdef )?([A-Z_]+)(?: \??:?=.*)?$", MAKEFILE, re.M))
FOLDER = re.compile(r"(?:PATH_TO_SENTRITON/)?((?:client|server|gateway)[\w/]*)(?:\[([\w,-]+)\])?")
# Programs of others, whose arguments only they know.
FOREIGN = {"cd", "curl", "git", "source"}


def check(words: Sequence[str]) -> None:
    """Raise for a command that its program would refuse."""
    program, *arguments = words
    if program == "sentriton":
        parse(arguments)
    elif program == "make":
        assert {word for word in arguments if "=" not in word} <= TARGETS, words
        assert {word.split("=")[0] for word in arguments if "=" in word} <= {
            name for pair in VARIABLES for name in pair
        }
    elif program in ("python", ".venv/bin/python") and "-m" in arguments:
        module = arguments[arguments.index("-m") + 1]
        assert find_spec(module) is not None, module
    elif program == "pip":
        check_installation(arguments)
    elif program == "docker":
        assert (ROOT / arguments[arguments.index("--file") + 1]).is_file()
    else:
        assert program in FOREIGN, f"say in this test how to check `{' '.join(words)}`"


def check_installation(arguments: Sequence[str]) -> None:
    """The folders exist and have the extras."""
    for name, extras in FOLDER.findall(" ".join(arguments)):
        project = tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert set(filter(None, extras.split(","))) <= set(project.get("optional-dependencies", {})), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_accepted(page: Path) -> None:
    for words in commands(page):
        check(words)


@pytest.mark.parametrize("words", [["sentriton", "serve", "--precison", "int8"], ["make", "demos"], ["rm", "-rf"]])
def test_a_wrong_command_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"."):
        check(words)


def test_targets_in_running_text_exist() -> None:
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")))
        assert named <= TARGETS, document


def test_the_page_of_commands_has_all_of_them() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    assert set(re.findall(r"^\| `sentriton (\w+)", page, re.M)) == set(group.list_commands(None))
