"""Type checkers on the public interface: mypy --strict and pyright accept encoders.py and reject refused.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from tests.conftest import cannot_run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLIENT = ROOT / "client/python"
NODE_MODULES = ROOT / "client/node/node_modules"
ACCEPTED, REFUSED, WITHOUT_TORCH = HERE / "encoders.py", HERE / "refused.py", HERE / "without_torch.py"

# The rejected lines of each file, with the reasons.
Findings = dict[str, dict[int, str]]


def mypy(*files: Path, torch: bool = True) -> Findings:
    """The errors of mypy --strict, as in a package that uses the installed client."""
    configuration = HERE / ("mypy.ini" if torch else "mypy_without_torch.ini")
    command = [sys.executable, "-m", "mypy", "--strict", f"--config-file={configuration}", *map(str, files)]
    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(CLIENT)}, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    findings: Findings = {}
    for path, line, message in re.findall(r"^([^:\n]+):(\d+): error: (.*)$", ran.stdout, re.M):
        findings.setdefault(Path(path).name, {}).setdefault(int(line), message)
    return findings


def pyright(*files: Path, torch: bool = True) -> Findings:
    """The errors of pyright in its strict mode, in a package that uses the installed client."""
    with TemporaryDirectory() as folder:
        packages = Path(folder, "environment/lib/python3.10/site-packages")
        packages.mkdir(parents=True)
        for path in Path(np.__file__).parents[1].iterdir():
            if not path.name.startswith(("sentriton", "_editable", "torch" if not torch else "sentriton")):
                (packages / path.name).symlink_to(path)
        shutil.copytree(CLIENT / "sentriton", packages / "sentriton")
        for file in files:
            shutil.copy(file, folder)
        configuration = {
            "pythonVersion": "3.10",
            "typeCheckingMode": "strict",
            "include": [file.name for file in files],
        }
        configuration |= {"venvPath": folder, "venv": "environment"}
        Path(folder, "pyrightconfig.json").write_text(json.dumps(configuration), encoding="utf-8")
        ran = subprocess.run([_pyright(), "--outputjson"], cwd=folder, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert result["summary"]["filesAnalyzed"] == len(files)
    findings: Findings = {}
    for found in result["generalDiagnostics"]:
        lines = findings.setdefault(Path(found["file"]).name, {})
        lines.setdefault(found["range"]["start"]["line"] + 1, found["message"])
    return findings


def _pyright() -> str:
    found = shutil.which("pyright", path=f"{NODE_MODULES / '.bin'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        cannot_run("pyright is not installed; run: make node")
    return found


CHECKERS = pytest.mark.parametrize("check", [mypy, pyright])


@CHECKERS
def test_results_have_types_without_any(check: Callable[..., Findings]) -> None:
    assert check(ACCEPTED) == {}


@CHECKERS
def test_wrong_calls_are_refused(check: Callable[..., Findings]) -> None:
    assert set(check(REFUSED)[REFUSED.name]) == refused_lines(REFUSED)


def refused_lines(file: Path) -> set[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, start=1) if line.endswith("# refused")}


def test_a_misspelt_option_is_named_by_mypy() -> None:
    assert 'did you mean "truncate_dim"?' in str(mypy(REFUSED)[REFUSED.name])


@CHECKERS
def test_arrays_keep_their_types_without_torch(check: Callable[..., Findings]) -> None:
    assert set(check(WITHOUT_TORCH, torch=False)[WITHOUT_TORCH.name]) == refused_lines(WITHOUT_TORCH)
