"""client/java, built and tested by one run of Maven, and programs that use it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.conftest import ROOT, cannot_run
from tests.polyglot.conformance import CONFORMANCE
from tests.polyglot.processes import environment

JAVA_CLIENT = ROOT / "client" / "java"
TARGET = JAVA_CLIENT / "target"
PROTOC = TARGET / "tools" / "protoc"

# Short runs: the second compiler costs more than it saves.
JVM = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
_LEAST_JAVA = 11


@dataclass(frozen=True)
class Report:
    """The results of JUnit: the names of the tests that passed, were skipped and failed."""

    passed: list[str]
    skipped: list[str]
    failed: list[str]


def check_tools() -> None:
    """Skips the test if the JDK or Maven is missing, and fails it in CI."""
    for tool in ("javac", "mvn"):
        if shutil.which(tool) is None:
            cannot_run(f"needs a JDK of version 11 or later and Maven, and there is no `{tool}` on the PATH")
    version = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=True)
    number = re.search(r"\d+", version.stdout + version.stderr)
    if number is None or int(number[0]) < _LEAST_JAVA:
        cannot_run(f"needs a JDK of version {_LEAST_JAVA} or later, and `javac` is {version.stdout.strip()}")


def maven(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Maven in client/java: without the network if its local repository has all that it needs."""
    settings = environment(MAVEN_OPTS=" ".join(JVM), **variables)
    command = ["mvn", "--batch-mode", "--quiet", *arguments]
    for offline in (["--offline"], []):
        ran = subprocess.run(
            [*command, *offline], cwd=JAVA_CLIENT, env=settings, capture_output=True, text=True, timeout=280
        )
        if "offline" not in ran.stdout:
            break
    return ran


def report() -> Report:
    """The results of the last run of the Java tests."""
    passed, skipped, failed = [], [], []
    for file in sorted((TARGET / "surefire-reports").glob("TEST-*.xml")):
        for case in ET.parse(file).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            names = failed if kinds & {"failure", "error"} else skipped if "skipped" in kinds else passed
            names.append(case.get("name", ""))
    return Report(passed, skipped, failed)


def jar() -> Path:
    """The jar that an application uses."""
    (found,) = (path for path in TARGET.glob("sentriton-client-*.jar") if "original" not in path.name)
    return found


def program_command(program: str, *arguments: str) -> list[str]:
    """The command that runs a program of client/java/src/test."""
    path = os.pathsep.join([f"{TARGET}/test-classes", f"{TARGET}/classes", (TARGET / "classpath").read_text()])
    return ["java", *JVM, f"-Dconformance={CONFORMANCE}", "-cp", path, f"io.sentriton.{program}", *arguments]


def source_command(script: Path, *arguments: str) -> list[str]:
    """The command that runs a program of one file as an application does: with the jar and its dependencies."""
    jars = [name for name in (TARGET / "classpath").read_text().split(os.pathsep) if not _is_inside(name)]
    return ["java", *JVM, "-cp", os.pathsep.join([str(jar()), *jars]), str(script), *arguments]


def _is_inside(name: str) -> bool:
    """Whether a jar is a part of the client's, or for its tests alone."""
    return re.search(r"protobuf|gson|junit|grpc-stub", Path(name).name) is not None
