"""Triton's flags on a device that do not depend on the settings: `server_config/triton.toml`."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton_server.resources import SERVER_CONFIG
from sentriton_server.serving.errors import LaunchError
from sentriton_server.toml import tomllib


@dataclass(frozen=True)
class Profile:
    """Flags of tritonserver, and default values for variables of its environment."""

    flags: tuple[str, ...]
    environment: dict[str, str]


def read_profile(device: str) -> Profile:
    """The profile of a manifest's device, cpu or gpu. Raises `LaunchError` for other devices."""
    content = tomllib.loads((SERVER_CONFIG / "triton.toml").read_text(encoding="utf-8"))
    devices = content["devices"]
    if device not in devices:
        raise LaunchError(
            f"the repository was exported for device {device!r}; allowed are {', '.join(devices)}; export it again"
        )
    own = devices[device]
    return Profile((*content["flags"], *own.get("flags", ())), content["environment"] | own.get("environment", {}))
