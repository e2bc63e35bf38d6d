"""client/cpp: its own tests under sanitizers and against the server of the other clients, its programs and package, and
the code of its README.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.polyglot import cpp
from tests.polyglot.conformance import Conformance
from tests.polyglot.cpp import CPP_CLIENT, LIBRARIES, WARNINGS
from tests.polyglot.processes import run
from tests.polyglot.programs import Programs, ProgramTests
from tests.polyglot.table import RecordCases
from tests.server.conftest import RunningServer
from tests.snippets import blocks, only

SANITIZERS = {"address": "address,undefined", "thread": "thread"}
CODE = sorted(path for kind in ("cpp", "hpp") for path in CPP_CLIENT.rglob(f"*.{kind}"))


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    cpp.check_libraries()


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the programs of client/cpp."""
    return cpp.build("release", "sentriton", "rank", "callers", "reencode", flags="-O1") / "programs"


@pytest.fixture(scope="module")
def programs(folder: Path) -> Programs:
    return Programs.in_folder(folder)


class TestPrograms(ProgramTests):
    pass


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_cpps_own_tests_pass_under_a_sanitizer_and_skip_nothing(
    sanitizer: str, server: RunningServer, conformance: Conformance, record_cases: RecordCases
) -> None:
    """gRPC itself is not instrumented: client/cpp/tests/*.supp names the consequences."""
    folder = cpp.build(sanitizer, "sentriton_tests", flags="-O0 -g1", sanitizers=SANITIZERS[sanitizer], unity=True)
    of_library = f"suppressions={CPP_CLIENT / 'tests'}"
    options = {
        "LSAN_OPTIONS": f"{of_library}/address.supp",
        "TSAN_OPTIONS": f"{of_library}/thread.supp:ignore_noninstrumented_modules=1",
    }
    report = cpp.own_tests(folder, SENTRITON_URL=server.url, **options)
    assert not report.failed, report.output
    assert not report.skipped
    cases = [case["name"] for case in conformance.cases]
    assert re.findall(r"^passed: (.*)$", report.output, re.M) == cases
    if sanitizer == "address":
        record_cases("C++", len(cases), len(report.passed) - 1)


def test_cpp_is_formatted() -> None:
    tool = shutil.which("clang-format", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        cannot_run("needs clang-format, which requirements-dev.txt has; run: make unit")
    ran = run(tool, "--dry-run", "--Werror", *CODE)
    assert ran.returncode == 0, ran.stderr


def test_public_headers_need_nothing_else() -> None:
    """Each compiles alone, without gRPC's and protobuf's headers on the path."""
    headers = sorted((CPP_CLIENT / "include" / "sentriton").glob("*.hpp"))
    assert len(headers) > 5
    including = "".join(
        f"#include <sentriton/{header.name}>\n#include <sentriton/{header.name}>\n" for header in headers
    )
    include = ["-I", CPP_CLIENT / "include"]
    for code in [*(f"#include <sentriton/{header.name}>\n" for header in headers), including]:
        ran = run("c++", "-std=c++17", *WARNINGS.split(), *include, "-fsyntax-only", "-x", "c++", "-", stdin=code)
        assert ran.returncode == 0, ran.stderr
    for header in headers:
        assert not re.search(r"grpc(::|pp)|google|protobuf", header.read_text(encoding="utf-8")), header.name


def test_the_readmes_code_runs(folder: Path, server: RunningServer, tmp_path: Path) -> None:
    """Its commands too, in an empty folder. The library is the one that is built already."""
    printed, project = only(CPP_CLIENT / "README.md", "text", "cmake")
    (commands,) = (each.code for each in blocks(CPP_CLIENT / "README.md", "console") if "hello/hello" in each.code)
    code, *_ = (block.code for block in blocks(CPP_CLIENT / "README.md", "cpp"))
    (tmp_path / "hello.cpp").write_text(code.replace("localhost:8001", server.url), encoding="utf-8")
    (tmp_path / "CMakeLists.txt").write_text(project, encoding="utf-8")
    initial = f"cmake -C {LIBRARIES / 'libraries.cmake'} -D CMAKE_CXX_FLAGS='{WARNINGS}'"
    usr = LIBRARIES / "usr"
    options = (CPP_CLIENT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert all(f"option({name} " in options for name in re.findall(r"-D (SENTRITON_\w+)", commands))
    for line in commands.splitlines()[2:]:  # the first two build the library
        command = line.removeprefix("$ ").replace("build/sentriton", str(folder.parent))
        command = command.replace("cmake -S", f"{initial} -S").replace("$PWD/installed", f'"$PWD/installed;{usr}"')
        ran = run("sh", "-c", command, folder=tmp_path)
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
    assert ran.stdout == printed


def test_the_readmes_settings_and_errors_compile() -> None:
    _, settings, errors = (block.code for block in blocks(CPP_CLIENT / "README.md", "cpp"))
    headers = "".join(f"#include <{name}>\n" for name in ("sentriton/sentriton.hpp", "chrono", "cstdio"))
    code = f"{headers}void example() {{\n{settings}{errors}}}\n"
    include = ["-I", CPP_CLIENT / "include"]
    ran = run("c++", "-std=c++17", *WARNINGS.split(), *include, "-fsyntax-only", "-x", "c++", "-", stdin=code)
    assert ran.returncode == 0, ran.stderr


def test_a_project_can_add_the_folder(tmp_path: Path) -> None:
    """As a part of its own build, which has no tests of ours."""
    project = f"""
        cmake_minimum_required(VERSION 3.16)
        project(hello CXX)
        add_subdirectory({CPP_CLIENT} sentriton)
        add_library(hello INTERFACE)
        target_link_libraries(hello INTERFACE sentriton::sentriton)
        if(TARGET sentriton_tests)
          message(FATAL_ERROR "it builds our tests")
        endif()
    """
    (tmp_path / "CMakeLists.txt").write_text(project, encoding="utf-8")
    cpp.configure(tmp_path, tmp_path / "build")


def test_a_build_without_grpc_names_the_remedy(tmp_path: Path) -> None:
    ran = run("cmake", "-S", CPP_CLIENT, "-B", tmp_path, "-D", "CMAKE_DISABLE_FIND_PACKAGE_gRPC=ON")
    assert ran.returncode != 0
    assert "CMake finds no gRPC::grpc++; install gRPC and protobuf" in " ".join(ran.stderr.split())


def test_the_versions_are_one() -> None:
    """CMakeLists.txt has the version of the other clients."""
    python = (CPP_CLIENT.parent / "python" / "sentriton" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*)"', python)
    assert version is not None
    assert f"project(sentriton VERSION {version[1]} " in (CPP_CLIENT / "CMakeLists.txt").read_text(encoding="utf-8")
