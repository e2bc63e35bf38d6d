"""Triton's settings on each device, from server_config/triton.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.installation import Installation
from sentriton_server.serving.process import _environment
from sentriton_server.serving.profile import read_profile
from sentriton_server.settings import ServerSettings


def environment(device: str) -> dict[str, str]:
    return _environment(read_profile(device), Installation(Path("tritonserver"), ""), ServerSettings(), "key")


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_device_has_flags_and_variables(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = read_profile(device)
    for name in profile.environment:
        monkeypatch.delenv(name, raising=False)
    assert "--disable-auto-complete-config" in profile.flags
    assert profile.environment.items() <= environment(device).items()
    assert environment(device)["SENTRITON_CANARY_KEY"] == "key"


def test_a_variable_of_the_caller_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert environment("cpu")["GOMP_SPINCOUNT"] == "7"
    assert "PYTHONPATH" not in environment("cpu")


def test_a_device_without_a_profile_is_named() -> None:
    with pytest.raises(LaunchError, match="was exported for device 'tpu'; allowed are cpu, gpu; export it again"):
        read_profile("tpu")
