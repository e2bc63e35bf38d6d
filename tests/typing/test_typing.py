"""Type checkers on the public interface: mypy --strict and pyright accept encoders.py and refuse refused.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.typing.asynchronous import ASYNCIO, asyncio_overloads

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLIENT = ROOT / "client/python"
NODE_MODULES = ROOT / "client/node/node_modules"
ACCEPTED, REFUSED, WITHOUT_TORCH = HERE / "encoders.py", HERE / "refused.py", HERE / "without_torch.py"

# By file, the lines that a type checker refuses and why.
Findings = dict[str, dict[int, str]]


def mypy(*files: Path, configuration: Path = HERE / "mypy.ini") -> Findings:
    """The errors of mypy --strict, as in a package that uses the installed client."""
    command = [sys.executable, "-m", "mypy", "--strict", f"--config-file={configuration}", *map(str, files)]
    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(CLIENT)}, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    findings: Findings = {}
    for path, line, message in re.findall(r"^([^:\n]+):(\d+): error: (.*)$", ran.stdout, re.M):
        findings.setdefault(Path(path).name, {}).setdefault(int(line), message)
    return findings


def pyright(*files: Path, configuration: Path = HERE / "pyrightconfig.json", options: Sequence[str] = ()) -> Findings:
    """The errors of pyright in its strict mode."""
    command = [_pyright(), "--outputjson", f"--project={configuration}", *options]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    findings: Findings = {}
    for found in json.loads(ran.stdout)["generalDiagnostics"]:
        path = Path(found["file"])
        if found["severity"] == "error" and path in files:
            findings.setdefault(path.name, {}).setdefault(found["range"]["start"]["line"] + 1, found["message"])
    return findings


def _pyright() -> str:
    found = shutil.which("pyright", path=f"{NODE_MODULES / '.bin'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        reason = "pyright is not installed; run: make node"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def with_all_packages(*files: Path) -> Findings:
    return pyright(*files, options=[f"--pythonpath={sys.executable}"])


CHECKERS = pytest.mark.parametrize("check", [mypy, with_all_packages], ids=["mypy", "pyright"])


@CHECKERS
def test_results_have_types_without_any(check: Callable[..., Findings]) -> None:
    assert check(ACCEPTED) == {}


@CHECKERS
def test_wrong_calls_are_refused(check: Callable[..., Findings]) -> None:
    lines = REFUSED.read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, start=1) if line.endswith("# refused")}
    assert set(check(REFUSED)[REFUSED.name]) == expected


def test_a_misspelt_option_is_named_by_mypy() -> None:
    assert 'did you mean "truncate_dim"?' in str(mypy(REFUSED)[REFUSED.name])


def test_arrays_keep_their_types_in_mypy_without_torch() -> None:
    assert mypy(WITHOUT_TORCH, configuration=HERE / "mypy_without_torch.ini") == {}


def test_arrays_keep_their_types_in_pyright_without_torch(tmp_path: Path) -> None:
    # An environment that has numpy and no torch.
    packages = tmp_path / "environment/lib/python3.10/site-packages"
    packages.mkdir(parents=True)
    (packages / "numpy").symlink_to(Path(np.__file__).parent)
    (tmp_path / "environment/pyvenv.cfg").touch()
    copy = tmp_path / WITHOUT_TORCH.name
    shutil.copy(WITHOUT_TORCH, copy)
    values = {**json.loads((HERE / "pyrightconfig.json").read_text(encoding="utf-8")), "include": [copy.name]}
    values |= {"extraPaths": [str(CLIENT)], "venvPath": str(tmp_path), "venv": "environment"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(values), encoding="utf-8")
    assert pyright(copy, configuration=tmp_path / "pyrightconfig.json") == {}


def test_the_asyncio_overloads_are_those_of_the_blocking_encoder() -> None:
    assert ASYNCIO.read_text(encoding="utf-8") == asyncio_overloads(), "run: python -m tests.typing.asynchronous"
