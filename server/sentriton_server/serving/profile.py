"""What Triton is started with on a device whatever the settings are: `server_config/triton/`, one file per device."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton_server.resources import SERVER_CONFIG
from sentriton_server.serving.errors import LaunchError
from sentriton_server.toml import tomllib

PROFILES = SERVER_CONFIG / "triton"


@dataclass(frozen=True)
class Profile:
    """Flags of tritonserver, and variables of its environment for which inherited ones take precedence."""

    flags: tuple[str, ...]
    environment: dict[str, str]


def read_profile(device: str) -> Profile:
    """The profile of a device, cpu or gpu, as a manifest names it. Raises `LaunchError` for other devices."""
    devices = sorted(path.stem for path in PROFILES.glob("*.toml"))
    if device not in devices:
        raise LaunchError(
            f"the repository was exported for device {device!r}; allowed are {', '.join(devices)}; export it again"
        )
    content = tomllib.loads((PROFILES / f"{device}.toml").read_text(encoding="utf-8"))
    return Profile(tuple(content["flags"]), content["environment"])
