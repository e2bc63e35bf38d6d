"""The cases that clients of all languages pass; Node's client, built; the tools of Go and Rust."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, cannot_run
from tests.polyglot.conformance import Conformance
from tests.polyglot.processes import environment
from tests.polyglot.table import PROPERTY, RecordCases, table

NODE_CLIENT = ROOT / "client" / "node"
GO_CLIENT = ROOT / "client" / "go"
RUST_CLIENT = ROOT / "client" / "rust"
RunNode = Callable[..., "subprocess.CompletedProcess[str]"]
RunGo = Callable[..., "subprocess.CompletedProcess[str]"]
RunCargo = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows how many cases each client passed."""
    if lines := table(terminalreporter.stats.get("passed", [])):
        terminalreporter.section("clients: passed")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def record_cases(record_property: Callable[[str, object], None]) -> RecordCases:
    return lambda language, cases, others: record_property(PROPERTY, (language, cases, others))


@pytest.fixture(scope="session")
def conformance() -> Conformance:
    return Conformance()


@pytest.fixture(scope="session")
def node_tools() -> Path:
    """The folder of buf, the TypeScript compiler and the code generator. Where Node.js or these packages are missing
    the test is skipped, and fails in CI."""
    tools = NODE_CLIENT / "node_modules" / ".bin"
    if shutil.which("node") is None:
        cannot_run("needs Node.js 20.3 or later, and there is no `node` on the PATH")
    version = subprocess.run(["node", "-p", "process.versions.node"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, version.split(".")[:2])) < (20, 3):
        cannot_run(f"needs Node.js 20.3 or later, and `node` is {version.strip()}")
    if not (tools / "buf").exists():
        cannot_run("needs the packages of client/node; run: make node")
    return tools


@pytest.fixture(scope="session")
def run_node(node_tools: Path) -> RunNode:
    """Runs a script with Node, in client/node, which is built first: the callable takes arguments and variables."""
    build_node_client()

    def run(*arguments: str | Path, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["node", *map(str, arguments)],
            cwd=NODE_CLIENT,
            env=environment(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=200,
        )

    return run


def build_node_client() -> None:
    """Build client/node once per test run, however many processes share the run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with (NODE_CLIENT / "node_modules" / ".built-for").open("a+") as built_for:
        fcntl.flock(built_for, fcntl.LOCK_EX)
        built_for.seek(0)
        if built_for.read() == run:
            return
        built = subprocess.run(["npm", "run", "--silent", "build"], cwd=NODE_CLIENT, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout + built.stderr
        built_for.truncate(0)
        built_for.write(run)


@pytest.fixture(scope="session")
def run_go() -> RunGo:
    """Runs a command of Go in client/go: the callable takes arguments, and variables of the environment. Where Go is
    missing or too old the test is skipped, and fails in CI.
    """
    if shutil.which("go") is None:
        cannot_run("needs Go 1.26 or later, and there is no `go` on the PATH")
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.removeprefix("go").split(".")[:2])) < (1, 26):
        cannot_run(f"needs Go 1.26 or later, and `go` is {version}")

    def run(
        *arguments: str | Path, folder: Path = GO_CLIENT, stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["go", *map(str, arguments)],
            cwd=folder,
            # Beside other tests, on two cores.
            env=environment(**{"GOFLAGS": "-p=2 -buildvcs=false", **variables}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=400,
        )

    return run


@pytest.fixture(scope="session")
def run_cargo() -> RunCargo:
    """Runs a command of Cargo in client/rust: the callable takes arguments, and variables of the environment. Where
    Cargo, clippy or rustfmt is missing or too old the test is skipped, and fails in CI.
    """
    for tool in ("cargo", "cargo-clippy", "rustfmt"):
        if shutil.which(tool) is None:
            cannot_run(f"needs Rust 1.88 or later with clippy and rustfmt, and there is no `{tool}` on the PATH")
    version = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if tuple(map(int, version.split(".")[:2])) < (1, 88):
        cannot_run(f"needs Rust 1.88 or later, and `cargo` is {version}")

    def run(*arguments: str | Path, folder: Path = RUST_CLIENT, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["cargo", *map(str, arguments)],
            cwd=folder,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=400,
        )

    return run
