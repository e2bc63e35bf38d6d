"""The processes, folders and shared memory that a server leaves behind."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from sentriton_server.repository import MODELS, read_config
from sentriton_server.serving import TritonServer
from sentriton_server.serving.scratch import SHARED_MEMORY
from tests.waiting import until


def regions(server: TritonServer) -> list[Path]:
    """The shared memory of a server's stubs."""
    assert server.process is not None
    return [path for path in SHARED_MEMORY.iterdir() if path.name.startswith(server.process.shared_memory_prefix)]


def python_instances(repository: Path) -> int:
    """The number of Python model instances. Each has a stub with its own shared memory."""
    configs = [read_config(repository, model) for model in MODELS]
    return sum(group.count for config in configs for group in config.instance_group)


def left_behind(scratch: Path) -> list[str]:
    """The remains of a server's folder and shared memory, after a moment for its guard."""
    for _ in range(50):
        found = [*scratch.parent.glob(scratch.name), *SHARED_MEMORY.glob(f"{scratch.name}_*")]
        if not found:
            break
        time.sleep(0.1)
    return list(map(str, found))


def require_end(group: int) -> None:
    """All processes of this group must end soon; they end here."""

    def has_ended() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    try:
        until(has_ended, 5)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
