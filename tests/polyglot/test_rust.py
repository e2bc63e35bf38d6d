"""client/rust: its own tests against the server of the other clients, joined callers, a restarted server, the messages,
and the code of its README.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from tests.polyglot.callers import (
    QUESTION_AND_THREE,
    assert_batched,
    assert_ranks,
    environment,
    restart_under_callers,
)
from tests.polyglot.conformance import CONFORMANCE, Conformance
from tests.polyglot.conftest import RUST_CLIENT, RunCargo
from tests.polyglot.table import RecordCases
from tests.polyglot.test_protos import PROTO, PROTOS, assert_current, fill
from tests.server.conftest import RunningServer

RAN = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def programs(run_cargo: RunCargo) -> Path:
    """The folder of the programs of client/rust, which are built with its tests."""
    built = run_cargo("test", "--workspace", "--no-run", "--message-format=json")
    assert built.returncode == 0, built.stderr
    artifacts = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    (callers,) = (
        artifact["executable"]
        for artifact in artifacts
        if artifact["reason"] == "compiler-artifact" and artifact["target"]["name"] == "callers"
    )
    return Path(callers).parent


def run(command: list[str | Path], stdin: str = "", **variables: str) -> RAN:
    return subprocess.run(
        list(map(str, command)), env=environment(**variables), input=stdin, capture_output=True, text=True, timeout=200
    )


def test_rusts_own_tests_pass_and_skip_nothing(
    programs: Path, run_cargo: RunCargo, server: RunningServer, conformance: Conformance, record_cases: RecordCases
) -> None:
    """Those of the documentation too: the README's code compiles."""
    tests = run_cargo("test", "--", "--include-ignored", "--nocapture", SENTRITON_URL=server.url)
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


def test_64_rust_calls_at_once_are_joined(programs: Path, server: RunningServer, conformance: Conformance) -> None:
    assert_batched(lambda: run([programs / "callers", server.url, CONFORMANCE, "4"]), server, conformance, least=8)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=lambda ending: ending.name)
def test_a_restart_under_64_callers_loses_nothing(
    ending: signal.Signals, programs: Path, conformance: Conformance
) -> None:
    def command(url: str, calls: int, seconds: float) -> list[str]:
        return [str(programs / "callers"), url, str(CONFORMANCE), str(calls), str(seconds)]

    restart_under_callers(command, ending, conformance)


def test_rusts_messages_are_byte_identical_both_ways(programs: Path) -> None:
    names = re.findall(r"^message (\w+)", (PROTOS / PROTO).read_text(encoding="utf-8"), re.M)
    assert len(names) == 15
    messages = [fill(getattr(service_pb2, name)(), variant) for name in names for variant in range(5)]
    sent = [
        [message.DESCRIPTOR.name, base64.b64encode(message.SerializeToString(deterministic=True)).decode()]
        for message in messages
    ]
    ran = run([programs / "reencode"], stdin=json.dumps(sent))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == sent


def test_generated_rust_is_current(programs: Path, node_tools: Path, tmp_path: Path) -> None:
    assert_current(node_tools, tmp_path, "client/rust/src/generated")


def test_the_readmes_code_runs(programs: Path, run_cargo: RunCargo, server: RunningServer, tmp_path: Path) -> None:
    """Its commands too, in an empty folder. The crates are those that are here already."""
    readme = (RUST_CLIENT / "README.md").read_text(encoding="utf-8")
    code, printed, commands = (
        re.findall(rf"```{kind}\n(.*?)```", readme, re.S)[0] for kind in ("rust,no_run", "text", "console")
    )
    for line in commands.splitlines():
        arguments = line.removeprefix("$ cargo ").replace("PATH_TO_SENTRITON", str(RUST_CLIENT.parents[1])).split()
        if arguments[0] == "run":
            (tmp_path / "src" / "main.rs").write_text(code.replace("localhost:8001", server.url), encoding="utf-8")
            (tmp_path / "Cargo.lock").write_bytes((RUST_CLIENT / "Cargo.lock").read_bytes())
            # As the tests were compiled, so that most crates are compiled once.
            arguments += ["--quiet", *("--config", f"build.target-dir='{programs.parents[1]}'")]
            arguments += ["--config", 'profile.dev.debug="line-tables-only"']
            arguments += ["--config", 'profile.dev.package."*".debug=false']
        ran = run_cargo(*arguments, folder=tmp_path, CARGO_NET_OFFLINE="true")
        assert ran.returncode == 0, f"{line}: {ran.stderr}"
    assert ran.stdout == printed


def test_the_example_runs(programs: Path, server: RunningServer) -> None:
    assert_ranks(run([programs / "rank", *QUESTION_AND_THREE], SENTRITON_URL=server.url))


def test_the_versions_are_one() -> None:
    """Cargo.toml and Cargo.lock have the version of the other clients."""
    python = (RUST_CLIENT.parent / "python" / "sentriton" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*)"', python)
    assert version is not None
    entry = f'name = "sentriton"\nversion = "{version[1]}"\n'
    for name in ("Cargo.toml", "Cargo.lock"):
        assert entry in (RUST_CLIENT / name).read_text(encoding="utf-8"), name
