"""client/go: its own tests against the server that the other clients use, its callers batched, a server restarted under
them, and the code of its README.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.bounds import is_quiet
from tests.polyglot.callers import assert_nothing_lost, environment, restart_under_callers
from tests.polyglot.conformance import CONFORMANCE, Conformance
from tests.polyglot.conftest import GO_CLIENT, RunGo
from tests.polyglot.table import RecordCases
from tests.server.conftest import RunningServer


@pytest.fixture(scope="session")
def callers(run_go: RunGo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with 64 callers."""
    program = tmp_path_factory.mktemp("go") / "callers"
    built = run_go("build", "-o", program, "./internal/callers")
    assert built.returncode == 0, built.stderr
    return program


def test_gos_own_tests_pass_and_skip_nothing(
    run_go: RunGo, server: RunningServer, conformance: Conformance, record_cases: RecordCases
) -> None:
    """With the race detector; they end with a look for goroutines that are left."""
    ran = run_go("test", "-race", "-count=1", "-json", "./...", SENTRITON_URL=server.url)
    events = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert ran.returncode == 0, ran.stderr + "".join(event.get("Output", "") for event in events)
    ended = {event["Test"]: event["Action"] for event in events if "Test" in event}
    assert set(ended.values()) == {"pass"}, {test: end for test, end in ended.items() if end != "pass"}
    for case in conformance.cases:
        assert f"TestConformance/{case['name'].replace(' ', '_')}" in ended, f"{case['name']} did not run"
    record_cases("Go", len(conformance.cases), len([test for test in ended if not test.startswith("TestConformance/")]))


def test_go_finds_nothing_to_mend(run_go: RunGo) -> None:
    staticcheck = ("tool", "-modfile=tools/go.mod", "staticcheck", "./...")
    for command in (("vet", "./..."), staticcheck, ("run", "cmd/gofmt", "-l", "."), ("mod", "tidy", "-diff")):
        ran = run_go(*command)
        assert (ran.returncode, ran.stdout) == (0, ""), f"go {' '.join(command)}: {ran.stdout}{ran.stderr}"


def test_files_stay_small() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in GO_CLIENT.glob("*.go")}
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def test_64_go_calls_at_once_are_batched(callers: Path, server: RunningServer, conformance: Conformance) -> None:
    def counts() -> list[float]:
        server.wait_for_counts()
        return [server.metric(f"sentriton_{kind}_total", lane="query") for kind in ("rows", "batches")]

    before = counts()
    ran = subprocess.run([callers, server.url, CONFORMANCE, "4"], env=environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rows, batches = (end - start for end, start in zip(counts(), before, strict=True))
    print(f"\nmean encoder batch {rows / batches:.1f}")
    assert rows == 4 * 64
    assert rows / batches > (4 if is_quiet() else 2)
    assert_nothing_lost(ran.stdout, conformance, calls=4 * 64)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=lambda ending: ending.name)
def test_a_restart_under_64_callers_loses_nothing(
    ending: signal.Signals, callers: Path, conformance: Conformance
) -> None:
    def command(url: str, calls: int, seconds: float) -> list[str]:
        return [str(callers), url, str(CONFORMANCE), str(calls), str(seconds)]

    restart_under_callers(command, ending, conformance)


def test_the_readmes_code_runs(run_go: RunGo, server: RunningServer, tmp_path: Path) -> None:
    """Its commands too, in an empty folder. The packages are those that are here already."""
    readme = (GO_CLIENT / "README.md").read_text(encoding="utf-8")
    (code,), (printed,), (commands,) = (
        re.findall(rf"```{kind}\n(.*?)```", readme, re.S) for kind in ("go", "text", "console")
    )
    (tmp_path / "main.go").write_text(code.replace("localhost:8001", server.url), encoding="utf-8")
    offline = {"GOPROXY": "off", "GONOSUMDB": "*", "GOFLAGS": "-mod=mod"}
    for line in commands.splitlines():
        arguments = line.removeprefix("$ go ").replace("PATH_TO_SENTRITON", str(GO_CLIENT.parents[1])).split()
        ran = run_go(*arguments, folder=tmp_path, **offline)
        assert ran.returncode == 0, f"{line}: {ran.stderr}"
    assert ran.stdout == printed


def test_the_example_runs(run_go: RunGo, server: RunningServer) -> None:
    sentences = ["숙소가 어디예요?", "지하철역 근처 숙소입니다.", "내일 비가 오나요?", "호텔"]
    ran = run_go("run", "./examples/rank", *sentences, SENTRITON_URL=server.url)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 3
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) <= 1
