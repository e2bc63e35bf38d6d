"""Only the files that a killed Triton leaves in /tmp are removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentriton_server.serving import environments
from sentriton_server.serving.environments import Environments, remove_recorded


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environments, "_PARENT", tmp_path)
    return tmp_path


@pytest.fixture
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "environments"


def test_the_folder_that_appeared_while_triton_started_goes_with_it(parent: Path, record: Path) -> None:
    (parent / "python_env_earlie").mkdir()
    of_triton = Environments(record)
    (parent / "python_env_itsown").mkdir()
    (parent / "else").mkdir()
    of_triton.note()
    (parent / "python_env_later0").mkdir()
    of_triton.remove()
    assert {folder.name for folder in parent.iterdir()} == {"python_env_earlie", "python_env_later0", "else"}
    assert not record.exists()
    of_triton.remove()


def test_what_is_recorded_goes_when_the_launcher_was_killed(parent: Path, record: Path) -> None:
    of_triton = Environments(record)
    (parent / "python_env_itsown").mkdir()
    (parent / "python_env_in_use/0").mkdir(parents=True)
    of_triton.note()
    (parent / "python_env_later0").mkdir()
    remove_recorded(record)
    assert {folder.name for folder in parent.iterdir()} == {"python_env_in_use", "python_env_later0"}
    remove_recorded(parent / "no record")


def test_a_folder_that_is_in_use_and_what_is_no_folder_stay(parent: Path, record: Path) -> None:
    of_triton = Environments(record)
    (parent / "python_env_in_use/0").mkdir(parents=True)
    (parent / "python_env_a_file").touch()
    (parent / "python_env_a_link").symlink_to(parent / "python_env_in_use/0")
    of_triton.note()
    of_triton.remove()
    assert len(list(parent.iterdir())) == 3
