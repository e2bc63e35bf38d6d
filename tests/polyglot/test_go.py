"""client/go: its own tests against the server of the other clients, its programs, and the code of its README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.polyglot.conformance import Conformance
from tests.polyglot.conftest import GO_CLIENT, RunGo
from tests.polyglot.programs import Programs, ProgramTests
from tests.polyglot.table import RecordCases
from tests.server.conftest import RunningServer
from tests.snippets import blocks, only

# A program of the README's parts: options of a call, a deadline and a priority.
PARTS = """package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	sentriton "example.com/sentriton/client/go"
)

func shorten(ctx context.Context, encoder *sentriton.SentenceEncoder, sentence string) error {
	%s
	fmt.Println(len(vector))
	return err
}

func limit(ctx context.Context, encoder *sentriton.SentenceEncoder) error {
	%s
	fmt.Println(len(vector))
	return err
}

func run(ctx context.Context) error {
	%s
	if err := shorten(ctx, encoder, "숙소가 역에서 가까워요."); err != nil {
		return err
	}
	return limit(ctx, encoder)
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
"""


@pytest.fixture(scope="module")
def programs(run_go: RunGo, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    folder = tmp_path_factory.mktemp("go")
    built = run_go("build", "-o", folder, "./internal/callers", "./internal/reencode", "./examples/rank")
    assert built.returncode == 0, built.stderr
    return Programs.in_folder(folder)


class TestPrograms(ProgramTests):
    least_batch = 4


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


def test_the_readmes_code_runs(run_go: RunGo, server: RunningServer, tmp_path: Path) -> None:
    """Its commands too, in an empty folder. The packages are those that are here already."""
    page = GO_CLIENT / "README.md"
    first, *parts = blocks(page, "go")
    (commands,) = only(page, "console")
    offline = {"GOPROXY": "off", "GONOSUMDB": "*", "GOFLAGS": "-mod=mod"}
    program = tmp_path / "main.go"
    program.write_text(first.code.replace("localhost:8001", server.url), encoding="utf-8")
    for line in commands.splitlines():
        arguments = line.removeprefix("$ go ").replace("PATH_TO_SENTRITON", str(GO_CLIENT.parents[1])).split()
        ran = run_go(*arguments, folder=tmp_path, **offline)
        assert ran.returncode == 0, f"{line}: {ran.stderr}"
    assert ran.stdout == first.output
    options, deadline, priority = (part.code.replace("localhost:8001", server.url) for part in parts)
    program.write_text(PARTS % (options, deadline, priority), encoding="utf-8")
    assert run_go("run", ".", folder=tmp_path, **offline).stdout == "128\n256\n"
    # Too little time for a request.
    program.write_text(PARTS % (options, deadline.replace("5*time.Second", "time.Millisecond"), priority), "utf-8")
    assert " no vector in time: sentriton: " in run_go("run", ".", folder=tmp_path, **offline).stderr
