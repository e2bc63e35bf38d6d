"""The docker command of an engine."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Docker:
    """`environment` names the engine. `is_of_tests`: its images are removed when the tests end.

    `build_arguments` give its builds the network with the package indexes, and pip's settings on this machine.
    """

    description: str
    environment: dict[str, str] = field(default_factory=dict)
    build_arguments: tuple[str, ...] = ()
    is_of_tests: bool = False

    def __call__(self, *arguments: object, timeout_s: float = 60, check: bool = True) -> str:
        """Run `docker ARGUMENTS…` and return its output, which a failure shows."""
        done = subprocess.run(
            ["docker", *map(str, arguments)],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0 or not check, f"docker {arguments[0]}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def build(self, *arguments: object, timeout_s: float = 1200) -> float:
        """Build an image; returns the seconds that it took."""
        started = time.monotonic()
        self("build", "--quiet", *self.build_arguments, *arguments, timeout_s=timeout_s)
        return time.monotonic() - started

    def forget_builds(self) -> None:
        """Remove the layers of builder stages, several GB of an image with CUDA's torch, from the tests' own engine."""
        if self.is_of_tests:
            self("builder", "prune", "--all", "--force", timeout_s=300)

    def inspect(self, name: str) -> Any:
        return json.loads(self("inspect", name))[0]

    def wait_until_healthy(self, name: str, timeout_s: float) -> float:
        """Wait for a container's health check to pass; returns the seconds since its start."""
        started = time.monotonic()
        while (state := self.inspect(name)["State"])["Health"]["Status"] != "healthy":
            logs = f"{name} is {state['Status']}: {self('logs', '--tail', 20, name, check=False)}"
            assert state["Status"] == "running", logs
            assert time.monotonic() < started + timeout_s, logs
            time.sleep(0.3)
        return time.monotonic() - started
