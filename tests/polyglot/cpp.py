"""client/cpp, built by CMake in build/cpp, with the system's gRPC or with Debian's, which is unpacked into build/."""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, cannot_run
from tests.polyglot.processes import run

CPP_CLIENT = ROOT / "client" / "cpp"
LIBRARIES = ROOT / "build" / "cpp-libraries"
BUILDS = ROOT / "build" / "cpp"
WARNINGS = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"


@dataclass(frozen=True)
class Report:
    """The results of GoogleTest: the names of the tests that passed, were skipped and failed, and their output."""

    passed: list[str]
    skipped: list[str]
    failed: list[str]
    output: str


def check_libraries() -> None:
    """Makes the libraries ready. Where the compiler, CMake or the libraries are missing and cannot be fetched, the test
    is skipped, and fails in CI.
    """
    for tool in ("c++", "cmake"):
        if shutil.which(tool) is None:
            cannot_run(f"needs a C++17 compiler and CMake 3.16 or later, and there is no `{tool}` on the PATH")
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    with (LIBRARIES / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fetched = run("sh", CPP_CLIENT / "tools" / "fetch-libraries.sh", LIBRARIES)
    if fetched.returncode != 0:
        cannot_run(f"needs gRPC, protobuf and GoogleTest for C++: {fetched.stderr}")


def configure(source: Path, build: Path, *options: str) -> None:
    """Configures a project: with Ninja and ccache where they are."""
    found = ["-G", "Ninja"] if shutil.which("ninja") else []
    found += ["-D", "CMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    ran = run("cmake", "-C", LIBRARIES / "libraries.cmake", "-S", source, "-B", build, *found, *options)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def build(name: str, *targets: str, flags: str, sanitizers: str = "", unity: bool = False) -> Path:
    """Builds client/cpp with these flags of the compiler, and returns the folder of the build. `unity`: several files
    are compiled as one, which parses gRPC's headers once for all of them.
    """
    folder = BUILDS / name
    settings = {
        "CMAKE_CXX_FLAGS": f"{WARNINGS} {flags}",
        "SENTRITON_SANITIZERS": sanitizers,
        "CMAKE_BUILD_TYPE": "None",
        "CMAKE_UNITY_BUILD": "ON" if unity else "OFF",
    }
    configure(CPP_CLIENT, folder, *(f"-D{name}={value}" for name, value in settings.items()))
    ran = run("cmake", "--build", folder, "--parallel", "2", "--target", *targets, timeout_s=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def own_tests(folder: Path, *options: str, **variables: str) -> Report:
    """Runs the client's own tests of a build."""
    results = folder / "results.json"
    ran = run(folder / "tests" / "sentriton_tests", f"--gtest_output=json:{results}", *options, **variables)
    assert results.exists(), ran.stdout + ran.stderr
    tests = [test for suite in json.loads(results.read_text())["testsuites"] for test in suite["testsuite"]]
    results.unlink()
    kept: dict[str, list[str]] = {"passed": [], "skipped": [], "failed": []}
    for test in tests:
        kind = "failed" if "failures" in test else "passed" if test["result"] == "COMPLETED" else "skipped"
        kept[kind].append(f"{test['classname']}.{test['name']}")
    if ran.returncode != 0 and not kept["failed"]:
        kept["failed"].append(f"exit status {ran.returncode}")
    return Report(**kept, output=ran.stdout + ran.stderr)
