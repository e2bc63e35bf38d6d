"""The environment of `make gpu`, which is built on a machine without a network."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from benchmarks.gpu_setup import link, with_requirements
from benchmarks.gpu_wheels import PACKAGES

# Requirements that the benchmark never imports: of PyTriton's Python interface, of scikit-learn (a placeholder), and of
# downloads from a hub.
NEVER_IMPORTED = {
    *("cloudpickle", "mypy-extensions", "pyzmq", "sh", "typing-inspect", "wrapt"),
    *("joblib", "narwhals", "scikit-learn", "scipy", "threadpoolctl"),
    *("colorama", "hf-xet", "httpcore", "httpx", "urllib3"),
}


def names(*distributions: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in distributions}


def test_the_packages_include_every_requirement() -> None:
    needed = names(*with_requirements("sentriton", "sentriton-server", "sentence-transformers", "tritonclient"))
    torchs = names(*with_requirements("torch"))  # linked from the machine's Python
    assert needed - torchs - names(*PACKAGES) - NEVER_IMPORTED - {"sentriton", "sentriton-server"} == set()


def test_requirements_are_followed_but_extras_and_missing_packages_are_not() -> None:
    found = with_requirements("torch", "no-such-package")
    assert {"torch", "sympy", "mpmath"} <= set(found)
    assert "no-such-package" not in found
    assert "optree" not in found  # an extra of torch


def test_a_package_is_linked_unless_the_environment_has_it(tmp_path: Path) -> None:
    (tmp_path / "sympy").mkdir()
    for name in ("sympy", "mpmath"):
        link(metadata.distribution(name), tmp_path)
    assert not (tmp_path / "sympy").is_symlink()
    assert (tmp_path / "mpmath").resolve() == Path(str(metadata.distribution("mpmath").locate_file("mpmath"))).resolve()
    assert (tmp_path / f"mpmath-{metadata.version('mpmath')}.dist-info/METADATA").is_file()


@pytest.mark.parametrize("name", ["..", "__pycache__"])
def test_programs_and_bytecode_are_not_linked(tmp_path: Path, name: str) -> None:
    link(metadata.distribution("sympy"), tmp_path)
    assert name not in {path.name for path in tmp_path.iterdir()}
