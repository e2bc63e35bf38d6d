"""The folder of the backends of the wheel's Triton."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sentriton_server.serving.backends import backend_directory, write
from sentriton_server.serving.errors import LaunchError


@pytest.fixture
def backends(tmp_path: Path) -> dict[str, list[Path]]:
    (tmp_path / "library.so").write_bytes(b"code")
    return {"python": [tmp_path / "library.so"]}


def test_prepared_backends_are_used_where_they_are(backends: dict[str, list[Path]], tmp_path: Path) -> None:
    prepared, scratch = tmp_path / "prepared", tmp_path / "scratch"
    write(backends, prepared)
    assert backend_directory(backends, scratch, prepared) == prepared
    assert not scratch.exists()


def test_those_of_another_release_are_not_used(backends: dict[str, list[Path]], tmp_path: Path) -> None:
    prepared, scratch = tmp_path / "prepared", tmp_path / "scratch"
    write(backends, prepared)
    (prepared / "python/library.so").write_bytes(b"old!")
    assert backend_directory(backends, scratch, prepared) == scratch
    assert (scratch / "python/library.so").read_bytes() == b"code"
    assert not (scratch / "python/library.so").is_symlink(), "Triton refuses a link out of its backend directory"


def test_preparing_again_replaces_files_of_the_same_size(backends: dict[str, list[Path]], tmp_path: Path) -> None:
    prepared, scratch = tmp_path / "prepared", tmp_path / "scratch"
    write(backends, prepared)
    (prepared / "python/library.so").write_bytes(b"old!")
    write(backends, prepared)
    assert backend_directory(backends, scratch, prepared) == prepared
    assert [file.name for file in (prepared / "python").iterdir()] == ["library.so"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: takes root")
def test_a_folder_that_runs_no_programs_is_named_with_what_to_do(
    backends: dict[str, list[Path]], tmp_path: Path
) -> None:
    # Like `docker run --tmpfs /tmp`.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,size=1m", "tmpfs", tmp_path], check=True)
    try:
        with pytest.raises(LaunchError, match=f"^{tmp_path} is mounted noexec.*--tmpfs /tmp:exec.*serving.prepare$"):
            backend_directory(backends, tmp_path / "scratch/backends", tmp_path / "prepared")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
