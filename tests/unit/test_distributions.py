"""The wheels: their versions, metadata and contents. `make release` installs them and calls a server with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from release.build import CLIENT, GATEWAY, SERVER, build_wheel, node_versions
from release.contents import check_client, check_gateway, check_server
from sentriton import __version__


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(CLIENT, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def server_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(SERVER, tmp_path_factory.mktemp("server"))


def test_the_clients_wheel_is_light_and_holds_no_server_code(client_wheel: Path) -> None:
    check_client(client_wheel, __version__)


def test_the_servers_wheel_holds_models_and_checkpoint_and_requires_its_client(server_wheel: Path) -> None:
    check_server(server_wheel, __version__)


def test_the_gateways_wheel_is_light_and_requires_its_client(tmp_path: Path) -> None:
    check_gateway(build_wheel(GATEWAY, tmp_path), __version__)


def test_a_wheel_of_the_wrong_kind_is_told(client_wheel: Path, server_wheel: Path) -> None:
    with pytest.raises(AssertionError, match=r"sentriton_server-.* must have the version"):
        check_client(server_wheel, __version__)
    with pytest.raises(AssertionError, match=r"must have the version 9\.9\.9"):
        check_client(client_wheel, "9.9.9")


def test_all_languages_have_one_version() -> None:
    assert node_versions() == {__version__}, "make release gives the Node client the version of the Python client"
