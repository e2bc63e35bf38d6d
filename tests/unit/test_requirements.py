"""Error messages about installation name no package of this project, which no index has."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from sentriton.requirements import CLIENT, SERVER, how_to_install, how_to_install_module


def test_an_extra_is_installed_by_the_packages_of_its_requirements() -> None:
    assert how_to_install("files") == "run: pip install 'pyarrow>=16'"
    train = how_to_install("train", SERVER)
    assert train.startswith("run: pip install 'accelerate>=1' ")
    assert "'pandas<3'" in train
    for distribution in (CLIENT, SERVER):
        for extra in metadata.metadata(distribution).get_all("Provides-Extra") or []:
            assert "run: pip install " in how_to_install(extra, distribution)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("psutil", "run: pip install 'psutil>=5.9'"),
        ("sentence_transformers.models", "run: pip install 'sentence-transformers<7,>=6'"),
        ("datasets", how_to_install("train", SERVER)),
        ("_lzma", how_to_install(distribution=SERVER)),
    ],
)
def test_a_missing_module_is_the_requirement_or_the_extra_that_has_it(module: str, says: str) -> None:
    assert how_to_install_module(module, SERVER) == says


@pytest.mark.parametrize(("module", "package"), [("langchain", "langchain_core"), ("llama_index", "llama_index.core")])
def test_an_integration_without_its_extra_says_how_to_install_it(module: str, package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; import sentriton.integrations.{module}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = how_to_install(module.replace("_", "-"))
    assert ran.stderr.splitlines()[-1].endswith(f" is not installed; {expected}")


def test_a_distribution_comes_from_a_checkout_or_from_the_wheels() -> None:
    assert how_to_install(distribution=SERVER) == (
        "run in a checkout of Sentriton: pip install ./client/python ./server, or install both wheels of a release"
    )


def test_without_metadata_an_extra_comes_from_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert how_to_install("files").startswith("run in a checkout of Sentriton: pip install './client/python[files]'")
