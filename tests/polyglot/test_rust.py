"""client/rust: its own tests against the server of the other clients, its programs, and the code of its README."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.polyglot.conformance import Conformance
from tests.polyglot.conftest import RUST_CLIENT, RunCargo
from tests.polyglot.programs import Programs, ProgramTests
from tests.polyglot.table import RecordCases
from tests.polyglot.test_protos import assert_current
from tests.server.conftest import RunningServer
from tests.snippets import only


@pytest.fixture(scope="module")
def folder(run_cargo: RunCargo) -> Path:
    """The folder of the programs, which are built with the tests."""
    built = run_cargo("test", "--workspace", "--no-run", "--message-format=json")
    assert built.returncode == 0, built.stderr
    artifacts = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    (callers,) = (
        artifact["executable"]
        for artifact in artifacts
        if artifact["reason"] == "compiler-artifact" and artifact["target"]["name"] == "callers"
    )
    return Path(callers).parent


@pytest.fixture(scope="module")
def programs(folder: Path) -> Programs:
    return Programs.in_folder(folder)


class TestPrograms(ProgramTests):
    pass


def test_rusts_own_tests_pass_and_skip_nothing(
    folder: Path, run_cargo: RunCargo, server: RunningServer, conformance: Conformance, record_cases: RecordCases
) -> None:
    """Those of the documentation too: the README's code compiles."""
    # With the workspace's other features, some crates would be compiled again.
    tests = run_cargo("test", "--workspace", "--", "--include-ignored", "--nocapture", SENTRITON_URL=server.url)
    assert tests.returncode == 0, tests.stdout + tests.stderr
    results = re.findall(r"^test result: ok\. (\d+) passed; 0 failed; (\d+) ignored", tests.stdout, re.M)
    assert len(results) > 1, tests.stdout
    assert {ignored for _, ignored in results} == {"0"}, tests.stdout
    cases = [case["name"] for case in conformance.cases]
    assert re.findall(r"passed: (.*)$", tests.stdout, re.M) == cases
    assert re.search(r"^test \S*README\.md .*ok$", tests.stdout, re.M), tests.stdout
    record_cases("Rust", len(cases), sum(int(passed) for passed, _ in results) - 1)


def test_rust_finds_nothing_to_mend(run_cargo: RunCargo) -> None:
    pedantic = ("--", "-D", "warnings", "-W", "clippy::pedantic")
    for command in (
        ("fmt", "--all", "--check"),
        ("clippy", "--workspace", "--all-targets", *pedantic),
        ("clippy", "--no-default-features", *pedantic),
        ("doc", "--no-deps"),
    ):
        ran = run_cargo(*command, RUSTDOCFLAGS="-D warnings")
        assert ran.returncode == 0, f"cargo {' '.join(command)}: {ran.stdout}{ran.stderr}"


def test_generated_rust_is_current(folder: Path, node_tools: Path, tmp_path: Path) -> None:
    assert_current(node_tools, tmp_path, "client/rust/src/generated")


def test_the_readmes_code_runs(folder: Path, run_cargo: RunCargo, server: RunningServer, tmp_path: Path) -> None:
    """Its commands too, in an empty folder. The crates are those that are here already."""
    code, printed, commands = only(RUST_CLIENT / "README.md", "rust,no_run", "text", "console")
    for line in commands.splitlines():
        arguments = line.removeprefix("$ cargo ").replace("PATH_TO_SENTRITON", str(RUST_CLIENT.parents[1])).split()
        if arguments[0] == "run":
            (tmp_path / "src" / "main.rs").write_text(code.replace("localhost:8001", server.url), encoding="utf-8")
            (tmp_path / "Cargo.lock").write_bytes((RUST_CLIENT / "Cargo.lock").read_bytes())
            # As the tests were compiled, so that most crates are compiled once.
            arguments += ["--quiet", *("--config", f"build.target-dir='{folder.parents[1]}'")]
            arguments += ["--config", 'profile.dev.debug="line-tables-only"']
            arguments += ["--config", 'profile.dev.package."*".debug=false']
        ran = run_cargo(*arguments, folder=tmp_path, CARGO_NET_OFFLINE="true")
        assert ran.returncode == 0, f"{line}: {ran.stderr}"
    assert ran.stdout == printed


def test_the_versions_are_one() -> None:
    """Cargo.toml and Cargo.lock have the version of the other clients."""
    python = (RUST_CLIENT.parent / "python" / "sentriton" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*)"', python)
    assert version is not None
    entry = f'name = "sentriton"\nversion = "{version[1]}"\n'
    for name in ("Cargo.toml", "Cargo.lock"):
        assert entry in (RUST_CLIENT / name).read_text(encoding="utf-8"), name
