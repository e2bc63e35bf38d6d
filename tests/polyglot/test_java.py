"""client/java: its own tests against the server of the other clients, its programs and jar, and its README's code."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.polyglot.conformance import Conformance
from tests.polyglot.java import (
    JAVA_CLIENT,
    PROTOC,
    check_tools,
    jar,
    maven,
    program_command,
    report,
    source_command,
)
from tests.polyglot.messages import PROTOS
from tests.polyglot.processes import Ran, run
from tests.polyglot.programs import Programs, ProgramTests
from tests.polyglot.table import PROPERTY
from tests.polyglot.test_protos import read_tree
from tests.server.conftest import RunningServer
from tests.snippets import blocks, only


@pytest.fixture(scope="module")
def built(server: RunningServer) -> Ran:
    """Compiled, tested against the server, packed and documented: one run of Maven, whose outcome a test checks."""
    check_tools()
    shutil.rmtree(JAVA_CLIENT / "target" / "surefire-reports", ignore_errors=True)
    # By their groups: to find the plugin of a prefix such as `javadoc`, Maven asks the repository for lists.
    plugins = "org.apache.maven.plugins:maven"
    goals = ["package", f"{plugins}-javadoc-plugin:javadoc", f"{plugins}-dependency-plugin:copy@protoc"]
    ran = maven(*goals, "-Dmaven.test.failure.ignore", SENTRITON_URL=server.url)
    if PROTOC.is_file():
        PROTOC.chmod(0o755)  # Maven copies no permissions
    return ran


@pytest.fixture(scope="module")
def programs(built: Ran) -> Programs:
    return Programs(
        callers=lambda url, calls, seconds: program_command("Callers", url, str(calls), str(seconds)),
        reencode=program_command("Reencode"),
        rank=source_command(JAVA_CLIENT / "examples" / "Rank.java"),
    )


class TestPrograms(ProgramTests):
    pass


def test_javas_own_tests_pass_and_skip_nothing(
    built: Ran, conformance: Conformance, record_property: Callable[[str, object], None]
) -> None:
    assert built.returncode == 0, built.stdout + built.stderr
    results = report()
    assert (results.failed, results.skipped) == ([], []), built.stdout
    for case in conformance.cases:
        assert any(case["name"] in name for name in results.passed), f"{case['name']} did not run"
    cases = len(conformance.cases)
    record_property(PROPERTY, ("Java", cases, len(results.passed) - cases))


def test_the_jar_has_its_libraries_in_packages_of_its_own(built: Ran) -> None:
    with zipfile.ZipFile(jar()) as content:
        names = content.namelist()
    classes = [name for name in names if name.endswith(".class")]
    assert any(name.startswith("io/sentriton/internal/protobuf/") for name in classes)
    assert all(name.startswith("io/sentriton/") for name in classes)
    assert {"META-INF/LICENSE", "META-INF/NOTICE", "META-INF/licenses/protobuf.txt"} <= set(names)


def test_generated_java_is_current(built: Ran, node_tools: Path, tmp_path: Path) -> None:
    # The template has paths relative to the folder of the proto files.
    template = (PROTOS / "buf.gen.java.yaml").read_text(encoding="utf-8").replace("../client/java/target", "TARGET")
    scratch = tmp_path / "protos" / "buf.gen.yaml"
    scratch.parent.mkdir()
    scratch.write_text(template.replace("TARGET/tools/protoc", str(PROTOC)), encoding="utf-8")
    command = [node_tools / "buf", "generate", "--template", scratch, "--output", scratch.parent]
    subprocess.run(command, cwd=PROTOS, check=True)
    made, committed = (read_tree(root / "src/generated") for root in (tmp_path / "client/java", JAVA_CLIENT))
    assert made
    assert made == committed, "client/java/src/generated differs from inference.proto; run: make protos"


def test_the_readmes_code_runs(built: Ran, server: RunningServer, tmp_path: Path) -> None:
    script = tmp_path / "Main.java"
    for program in blocks(JAVA_CLIENT / "README.md", "java"):
        script.write_text(program.code.replace("localhost:8001", server.url), encoding="utf-8")
        ran = run(*source_command(script))
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == program.output


def test_the_readmes_projects_name_the_library() -> None:
    pom, gradle = only(JAVA_CLIENT / "README.md", "xml", "groovy")
    (dependency,) = ET.fromstring(pom).iterfind("{*}dependencies/{*}dependency")
    library = ET.parse(JAVA_CLIENT / "pom.xml").getroot()
    names = ("groupId", "artifactId", "version")
    for name in names:
        assert dependency.findtext(f"{{*}}{name}") == library.findtext(f"{{*}}{name}")
    assert ":".join(str(library.findtext(f"{{*}}{name}")) for name in names) in gradle
