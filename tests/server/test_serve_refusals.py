"""A failing `sentriton serve` prints the reason in one sentence."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from sentriton_server.repository import RepositoryError, record_files
from sentriton_server.serving import TritonServer
from tests.ports import FREE_PORT_FLAGS, FREE_PORTS
from tests.server.serve_command import fails, running


def test_port_in_use(repository: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = fails(repository, "--grpc-port", port, "--metrics-port", 0)
    assert f"port {port} on 127.0.0.1 cannot be used" in message
    assert "--grpc-port" in message


def test_settings_of_security_come_from_flags_and_variables(repository: Path, tmp_path: Path) -> None:
    same = fails(repository, *FREE_PORT_FLAGS, "--admin-key", "one", SENTRITON_ACCESS_KEY="one")
    assert "$SENTRITON_ACCESS_KEY and --admin-key are the same" in same
    missing = fails(
        repository, *FREE_PORT_FLAGS, "--tls-key", "key.pem", SENTRITON_TLS_CERTIFICATE=str(tmp_path / "no.pem")
    )
    assert f"$SENTRITON_TLS_CERTIFICATE {tmp_path / 'no.pem'} cannot be read (No such file" in missing
    alone = fails(repository, *FREE_PORT_FLAGS, SENTRITON_CLIENT_ROOT_CERTIFICATES="authority.pem")
    assert "$SENTRITON_CLIENT_ROOT_CERTIFICATES needs --tls-certificate" in alone


def test_unknown_checkpoint() -> None:
    assert "no checkpoint at ./nowhere" in fails("./nowhere", *FREE_PORT_FLAGS)


def test_a_hub_id_that_cannot_be_had(tmp_path: Path) -> None:
    message = fails("nobody/no-such-model", *FREE_PORT_FLAGS, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert "'nobody/no-such-model'" in message
    assert "hub" in message


def test_a_folder_that_is_neither(tmp_path: Path) -> None:
    assert "modules.json" in fails(tmp_path, *FREE_PORT_FLAGS)


def test_broken_repository(repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "repository"
    shutil.copytree(repository, broken)
    model = broken / "encoder/1/model.pt"
    model.write_bytes(model.read_bytes()[:-1000])
    assert "encoder/1/model.pt is not the file that was exported" in fails(broken, *FREE_PORT_FLAGS)
    model.unlink()
    assert "encoder/1/model.pt is missing" in fails(broken, *FREE_PORT_FLAGS)


def test_a_model_that_was_changed_is_not_started_again(repository: Path, tmp_path: Path) -> None:
    changed = tmp_path / "repository"
    shutil.copytree(repository, changed)
    server = TritonServer(changed, FREE_PORTS)
    with (changed / "encoder/1/model.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RepositoryError, match=r"model\.pt is not the file that was exported"):
        server.start()
    assert server.process is None


def test_a_model_that_was_changed_ends_its_server_at_the_next_restart(repository: Path, tmp_path: Path) -> None:
    changed = tmp_path / "repository"
    shutil.copytree(repository, changed)
    with running(changed) as (process, _, processes):
        with (changed / "encoder/1/model.pt").open("ab") as file:
            file.write(b"x")
        next(child for child in processes if child.name() == "tritonserver").kill()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: the model repository")
    assert "model.pt is not the file that was exported" in errors.splitlines()[-1]


def test_a_repository_that_triton_refuses(repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "repository"
    shutil.copytree(repository, broken)
    (broken / "pooling/1/head.json").write_text("{}")
    record_files(broken)
    message = fails(broken, *FREE_PORT_FLAGS)
    assert "model pooling" in message
    assert "modules" in message


def test_an_unknown_precision() -> None:
    assert fails("--precision", "fp64") == "error: --precision is 'fp64'; allowed are fp32, bf16, int8, fp16"
    assert "precision 'fp16' is not available on cpu; allowed are fp32, bf16, int8" in fails(
        "--precision", "fp16", "--device", "cpu", *FREE_PORT_FLAGS
    )


def test_precision_of_an_exported_repository_is_fixed(repository: Path) -> None:
    assert "fixed by the export" in fails(repository, "--precision", "bf16", *FREE_PORT_FLAGS)
