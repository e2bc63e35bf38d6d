"""The commands on every page exist: flags, targets, modules, files and extras."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from importlib.util import find_spec
from itertools import dropwhile, pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sentriton.cli import app
from sentriton_server.data_sets import CATALOGUE
from sentriton_server.training.recipe import RECIPES
from tests.conftest import ROOT
from tests.manifests.command_lines import parse
from tests.snippets import PAGES, commands, split
from tests.unit.test_documentation import FILES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
VARIABLES = set(re.findall(r"^(?:ifdef )?([A-Z_]+)(?: \??:?=.*)?$", MAKEFILE, re.M))
FOLDER = re.compile(r"(?:\./|PATH_TO_SENTRITON/)?((?:client|server|gateway)[\w/]*)(?:\[([\w,-]+)\])?")
# Programs whose commands other tests run, by page: every command, as far as it needs no cluster.
RUN_ELSEWHERE = {
    "docker/kubernetes.md": "kubectl helm jq",  # tests/manifests/test_guide_commands.py
    "docker/certificates.md": "kubectl openssl",  # the same
    "docs/gateway.md": "curl kubectl",  # tests/gateway/test_tools.py, and that of docker/kubernetes.md
    "docs/questions.md": "curl",  # the same
    "docs/protocol.md": "curl grpcurl",  # tests/server/test_security.py
    "docs/serving.md": "sed",  # tests/unit/test_repository_files.py
    "client/cpp/README.md": "cmake sh build/hello/hello",  # tests/polyglot/test_cpp.py, and so on
    "client/go/README.md": "go",
    "client/node/README.md": "npm node",
    "client/rust/README.md": "cargo",
}
# Options of `docker run`, which make a container like that of compose.yaml, or give it a repository.
RUN_OPTIONS = {"--publish", "--shm-size", "--stop-timeout", "--read-only", "--tmpfs", "--volume", "--gpus", "--env"}
# Programs that no test runs, and the reason.
NOT_RUN = {
    "cd": "the command before it makes the folder",
    "export": "it sets a variable of the reader's shell",
    "git": "the reader has the address",
    "hf": "it downloads a model",
    "mvn": "it writes into the user's local repository and fetches a plugin",
    "pipx": "it installs for the user",
    "pre-commit": "it changes the checkout's hooks",
    "sleep": "it only waits",
    "source": "make creates .venv",
    "sudo": "it installs packages of the system",
}


def check(words: Sequence[str], page: str) -> None:
    """Raise for a command that its program would reject."""
    program, *arguments = words
    if program == "sentriton":
        check_sentriton(arguments)
    elif program == "make":
        check_make(arguments)
    elif program in ("python", ".venv/bin/python"):
        check_python(arguments)
    elif program == "pip":
        check_installation(arguments)
    elif program == "docker":
        check_docker(arguments)
    elif program == "numactl":  # not run, since it needs a machine with two sockets
        check(list(dropwhile(lambda word: word.startswith("--"), arguments)), page)
    else:
        assert program in NOT_RUN or program in RUN_ELSEWHERE.get(page, "").split(), f"no test runs {program} on {page}"


def check_sentriton(arguments: Sequence[str]) -> None:
    """The command line takes the arguments, and names of data sets and recipes exist."""
    parse(arguments)
    if arguments[0] == "data":
        assert set(arguments[1:]) <= CATALOGUE.keys(), arguments
    elif arguments[0] == "train":
        own = arguments[1] == "my-recipe.toml"  # a block of the page, which tests/end_to_end/test_training.py runs
        assert own or (RECIPES / f"{arguments[1]}.toml").is_file(), arguments


def check_make(arguments: Sequence[str]) -> None:
    """The targets and variables exist, and so do the options that a benchmark gets through $GPU."""
    variables = dict(word.split("=", 1) for word in arguments if "=" in word)
    assert {word for word in arguments if "=" not in word} <= TARGETS, arguments
    assert variables.keys() <= VARIABLES, arguments
    check_python(["-m", "benchmarks.gpu", *variables.get("GPU", "").split()])


def check_python(arguments: Sequence[str]) -> None:
    """The module or file exists and has the options. A module of another package must only exist."""
    at = arguments.index("-m") + 1 if "-m" in arguments else 0
    spec = find_spec(arguments[at]) if at else None
    source = Path(spec.origin or "") if spec else ROOT / arguments[0]
    assert source.is_file(), arguments
    if source in FILES:
        names = set(re.findall(r'"(--[a-z-]+)"', source.read_text(encoding="utf-8")))
        assert options(arguments[at:]) <= names, arguments


def check_installation(arguments: Sequence[str]) -> None:
    """The folders exist and have the extras, the files exist, and the packages are those that the tests have."""
    assert arguments[0] == "install"
    assert options(arguments) <= {"--requirement"}, arguments
    for before, word in pairwise(arguments):
        if before in ("-c", "--requirement"):
            assert (ROOT / word).is_file(), word
        elif folder := FOLDER.fullmatch(word):
            assert before == "-e" or "/" in word, f"pip would take {word} for a package of its index"
            name, extras = folder.groups(default="")
            project = tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            assert set(filter(None, extras.split(","))) <= set(project.get("optional-dependencies", {})), word
        elif not word.startswith("-"):
            distribution(word)


def check_docker(arguments: Sequence[str]) -> None:
    """The files exist, and a Dockerfile has the build arguments. Only an engine can run them (make deploy)."""
    assert arguments[0] in ("build", "compose", "push", "run", "tag")
    allowed = RUN_OPTIONS if arguments[0] == "run" else {"--build", "--build-arg", "--file", "--profile", "--tag"}
    assert options(arguments) <= allowed, arguments
    given = list(pairwise(arguments))
    wanted = {word.split("=")[0] for option, word in given if option == "--build-arg"}
    for name in (word for option, word in given if option == "--file"):
        assert wanted <= set(re.findall(r"^ARG (\w+)", (ROOT / name).read_text(encoding="utf-8"), re.M)), arguments


def options(arguments: Sequence[str]) -> set[str]:
    return {word for word in arguments if word.startswith("--")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_accepted(page: Path) -> None:
    for words in commands(page):
        check(words, str(page.relative_to(ROOT)))


def test_the_tables_name_nothing_else() -> None:
    found = {(str(page.relative_to(ROOT)), words[0]) for page in PAGES for words in commands(page)}
    assert {(page, program) for page, programs in RUN_ELSEWHERE.items() for program in programs.split()} <= found
    assert NOT_RUN.keys() <= {program for _, program in found}


@pytest.mark.parametrize(
    "command",
    [
        "sentriton serve --precison int8",
        "numactl --membind=0 sentriton serve --grpc 8011",
        "sentriton data klue-sts",
        "sentriton train klue-nli",
        "make demos",
        "make demo TORCH=1",
        "make gpu GPU='--sizes 1x64'",
        "python -m benchmarks.none",
        "python -m benchmarks.single --round 2",
        "python examples/none.py",
        "pip install 'client/python[plots]'",
        "pip install --requirement none.txt",
        "pip install a-package-of-nobody",
        "pip install gateway",
        "docker build --file docker/Dockerfile.none .",
        "docker build --file docker/Dockerfile --build-arg PART=serve .",
        "docker run --port 8001 sentriton:cpu",
        "curl http://localhost",
        "rm -rf",
    ],
)
def test_a_wrong_command_is_found(command: str) -> None:
    (words,) = split(command)
    with pytest.raises(Exception, match=r"."):
        check(words, "README.md")


def test_targets_in_running_text_exist() -> None:
    for document in PAGES:
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")))
        assert named <= TARGETS, document


def test_flags_in_running_text_exist() -> None:
    """Those of commands in code type, which may lack an argument. The changelog names removed ones."""
    group: Any = typer.main.get_command(app)
    for page in PAGES:
        text = "" if page.name == "CHANGELOG.md" else page.read_text(encoding="utf-8")
        for name, rest in re.findall(r"`(?:python -m )?(benchmarks\.[a-z_]+)( [^`]*)?`", text):
            check_python(["-m", name, *rest.split()])
        for name, rest in re.findall(r"`sentriton ([a-z]+)([^`]*)`", text):
            names = {each for parameter in group.get_command(None, name).params for each in parameter.opts}
            assert options(rest.split()) <= names | {"--help"}, f"{page}: sentriton {name}{rest}"


def test_the_page_of_commands_has_all_of_them() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    assert set(re.findall(r"^\| `sentriton (\w+)", page, re.M)) == set(group.list_commands(None))
