"""A repository with a missing or changed file is reported as broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentriton_server.export import export
from sentriton_server.repository import RepositoryError, check_repository
from sentriton_server.serving import TritonServer
from tests.ports import FREE_PORTS


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("embed_text/config.pbtxt", "is not an exported model repository: embed_text/config.pbtxt is missing"),
        ("encoder/1/model.pt", "is broken: encoder/1/model.pt is missing; export it again"),
        ("pooling/1/head.json", "is broken: pooling/1/head.json is missing"),
        ("assets/1/manifest.json", "is broken: assets/1/manifest.json is missing"),
    ],
)
def test_a_repository_without_a_file_is_broken(missing: str, named: str, checkpoint: Path, target: Path) -> None:
    export(checkpoint, target, device="cpu")
    (target / missing).unlink()
    with pytest.raises(RepositoryError, match=named):
        check_repository(target)


@pytest.mark.parametrize(
    ("damaged", "named"),
    [("encoder/1/model.pt", "not the file that was exported"), ("assets/1/manifest.json", "manifest.json: Expecting")],
)
def test_a_repository_with_a_damaged_file_is_broken(damaged: str, named: str, checkpoint: Path, target: Path) -> None:
    export(checkpoint, target, device="cpu")
    (target / damaged).write_bytes(b"damaged")
    with pytest.raises(RepositoryError, match=named):
        check_repository(target)


def test_a_pipe_in_place_of_a_file_is_broken(checkpoint: Path, target: Path) -> None:
    """Reading it would wait for ever."""
    export(checkpoint, target, device="cpu")
    (target / "assets/1/golden.json").unlink()
    os.mkfifo(target / "assets/1/golden.json")
    with pytest.raises(RepositoryError, match=r"assets/1/golden\.json is not a regular file"):
        check_repository(target)


def test_a_configuration_that_is_no_text_is_broken(checkpoint: Path, target: Path) -> None:
    export(checkpoint, target, device="cpu")
    (target / "encoder/config.pbtxt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(RepositoryError, match=r"encoder/config\.pbtxt is not the file that was exported"):
        TritonServer(target, FREE_PORTS).start()
