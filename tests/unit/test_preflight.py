"""The checks before Triton starts: ports, memory, shared memory, the interpreter's library."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentriton_server.memory import GIB, available_memory
from sentriton_server.repository import write_configs
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.installation import libpython_folder
from sentriton_server.serving.preflight import (
    MIB,
    check_memory,
    check_operators,
    check_ports,
    check_shared_memory,
)
from sentriton_server.settings import ServerSettings
from tests.example_manifest import make_manifest
from tests.ports import with_free_ports

HOST = "127.0.0.1"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


FREE = ServerSettings(grpc_port=0, http_port=0, metrics_port=0)


@pytest.mark.parametrize(
    ("field", "flag"), [("grpc_port", "--grpc-port"), ("http_port", "--http-port"), ("metrics_port", "--metrics-port")]
)
def test_a_port_in_use_is_named_with_its_flag(field: str, flag: str, taken_port: int) -> None:
    with pytest.raises(LaunchError, match=f"port {taken_port} on {HOST} cannot be used .*{flag}"):
        check_ports(replace(FREE, **{field: taken_port}))


# One address is for documentation (RFC 5737), one name never resolves (RFC 6761).
@pytest.mark.parametrize("address", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_named_with_its_flag(address: str) -> None:
    with pytest.raises(LaunchError, match=f"--host '{address}' is not an address of this machine"):
        check_ports(replace(FREE, host=address))


def test_http_that_is_off_needs_no_port() -> None:
    check_ports(replace(FREE, http_port=None))


def test_free_ports_are_distinct_and_can_be_taken() -> None:
    settings = with_free_ports(FREE)
    check_ports(settings)
    assert len({settings.grpc_port, settings.http_port, settings.metrics_port} - {0}) == 3


def test_two_equal_ports_are_refused() -> None:
    port = with_free_ports(FREE).grpc_port
    with pytest.raises(LaunchError, match=str(port)):
        check_ports(replace(FREE, grpc_port=port, metrics_port=port))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """2,048 tokens of 1,024 float32 values: 8 MiB for the largest batch, 16 MiB for the largest answer of token
    embeddings; 10 MiB of weights."""
    folder = tmp_path / "repository"
    sizes = {"hidden_size": 1024, "dimension": 32, "max_seq_length": 8}
    write_configs(folder, **sizes, token_embeddings_dtype="TYPE_FP32", device="cpu")
    with (folder / "encoder/1/model.pt").open("wb") as file:
        file.truncate(10 * MIB)
    (folder / "assets/1/manifest.json").write_text(make_manifest(max_seq_length=8).to_json())
    return folder


def test_memory_for_weights_and_work_is_enough(repository: Path) -> None:
    check_memory(repository, available=GIB + 13 * MIB)


def test_too_little_memory_is_said_in_gib(repository: Path) -> None:
    with pytest.raises(LaunchError, match=r"needs about 1\.0 GiB of memory and 0\.5 GiB is available.*--precision"):
        check_memory(repository, available=GIB // 2)


def test_the_row_cache_needs_memory_too(repository: Path) -> None:
    with pytest.raises(
        LaunchError, match=r"1\.5 GiB of memory, row cache included, and 1\.1 GiB .*lower --row-cache-mib"
    ):
        check_memory(repository, row_cache_mib=500, available=GIB + 100 * MIB)


def test_memory_that_the_weights_alone_would_fill_is_too_little(repository: Path) -> None:
    with pytest.raises(LaunchError):
        check_memory(repository, available=GIB + 12 * MIB)


def test_available_memory_is_what_this_machine_has() -> None:
    assert MIB < available_memory() < 2**50


def test_shared_memory_for_the_largest_batch_is_enough(repository: Path) -> None:
    check_shared_memory(repository, free=(4 * 8 + 2 * 16 + 32) * MIB)


def test_too_little_shared_memory_is_said_in_mib(repository: Path) -> None:
    with pytest.raises(LaunchError, match=r"/dev/shm has 39 MiB free and the largest batch needs 96 MiB.*--shm-size"):
        check_shared_memory(repository, free=39 * MIB)


@pytest.mark.parametrize("operators", ["sentriton", "torch"])
def test_a_full_triton_gets_no_encoder_with_operators(
    operators: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = repository / "assets/1/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "operators": operators}))
    monkeypatch.setenv("PATH", str(tmp_path))
    check_operators(repository)
    triton = tmp_path / "tritonserver"
    triton.touch(mode=0o755)
    if operators == "torch":
        check_operators(repository)
    else:
        with pytest.raises(LaunchError, match=f"libtorch backend of {triton} cannot load; .* --operators torch"):
            check_operators(repository)


def test_the_interpreters_shared_library_is_found_or_named(tmp_path: Path) -> None:
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(
        LaunchError, match=rf"no shared library {re.escape(name)}\.so\.1\.0.*apt install {re.escape(name)}"
    ):
        libpython_folder([tmp_path, tmp_path / "missing"])
    (tmp_path / f"{name}.so.1.0").touch()
    assert libpython_folder([tmp_path / "missing", tmp_path]) == tmp_path
