"""client/node: its own tests against the server of the other clients, its programs, and the code of its README."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.polyglot.conformance import Conformance
from tests.polyglot.conftest import NODE_CLIENT, RunNode
from tests.polyglot.processes import environment
from tests.polyglot.programs import Programs, ProgramTests
from tests.polyglot.table import RecordCases
from tests.server.conftest import RunningServer
from tests.snippets import blocks, command_lines


@pytest.fixture(scope="module")
def programs(run_node: RunNode) -> Programs:
    """Scripts of the client, which the other fixture has built."""
    callers, reencode = (str(Path(__file__).with_name(name)) for name in ("callers.mjs", "reencode.mjs"))
    return Programs(
        callers=lambda url, calls, seconds: ["node", callers, url, str(calls), str(seconds)],
        reencode=["node", reencode],
        rank=["node", str(NODE_CLIENT / "example.mjs")],
    )


class TestPrograms(ProgramTests):
    least_batch = 4


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with the certificates of a server at localhost and of a client, each its own authority."""
    for name in ("server", "client"):
        options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split()
        files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", f"{name}.key.pem", "-out", f"{name}.pem"]
        subprocess.run(["openssl", "req", *options, *files], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_nodes_own_tests_pass_and_skip_nothing(
    run_node: RunNode, server: RunningServer, conformance: Conformance, certificates: Path, record_cases: RecordCases
) -> None:
    variables = {"SENTRITON_URL": server.url, "TEST_CERTIFICATES": str(certificates)}
    # Files side by side, since most wait for clocks. Node.js has the option since 20.10.
    together = ["--test-concurrency=4"] if "--test-concurrency" in run_node("--help").stdout else []
    ran = run_node("--test", *together, "--test-reporter=tap", **variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counts = {name: int(count) for name, count in re.findall(r"^# (pass|fail|skipped|todo) (\d+)$", ran.stdout, re.M)}
    assert (counts["fail"], counts["skipped"], counts["todo"]) == (0, 0, 0)
    for case in conformance.cases:
        assert re.search(rf"^ +ok \d+ - {re.escape(case['name'])}$", ran.stdout, re.M), f"{case['name']} did not run"
    record_cases("Node", len(conformance.cases), counts["pass"] - len(conformance.cases))


def test_the_types_that_callers_see(run_node: RunNode) -> None:
    checked = run_node("node_modules/typescript/bin/tsc", "--project", "tsconfig.test.json")
    assert checked.returncode == 0, checked.stdout


def test_the_readmes_code_runs(run_node: RunNode, server: RunningServer, tmp_path: Path) -> None:
    """Its commands too, in an empty folder, which links to the package. The first block has the build's command."""
    page = NODE_CLIENT / "README.md"
    first, *others = blocks(page, "js")
    _, commands = blocks(page, "console")
    own = environment(npm_config_offline="true")

    def run(*words: str) -> str:
        ran = subprocess.run(words, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=200)
        assert ran.returncode == 0, f"{words}: {ran.stderr}"
        return ran.stdout

    program = tmp_path / "hello.mjs"
    program.write_text(first.code.replace("localhost:8001", server.url), encoding="utf-8")
    install, hello = command_lines(commands)
    run(*install.replace("PATH_TO_SENTRITON", str(NODE_CLIENT.parents[1])).split())
    assert run(*hello.split()) == first.output
    for other in others:
        program.write_text(other.code.replace("localhost:8001", server.url), encoding="utf-8")
        assert run(*hello.split()) == other.output
    (line,) = re.findall(r"`(const .* = require\(.*?\))`", page.read_text(encoding="utf-8"))
    assert run("node", "--eval", f"{line}; console.log(typeof SentenceEncoder)") == "function\n"
