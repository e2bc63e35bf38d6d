"""PostgreSQL with pgvector, from the wheel of pgserver. Its own launcher is not used: as root it adds a user to the
machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.conftest import cannot_run
from tests.waiting import until

_NOBODY = 65534  # the number of user and group; PostgreSQL refuses root
_SETTINGS = ("listen_addresses=", "fsync=off", "max_connections=10", "shared_buffers=16MB")


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The address of a PostgreSQL of its own, on a Unix socket, empty and gone at the end."""
    package = find_spec("pgserver")
    if package is None or package.origin is None:
        cannot_run("needs PostgreSQL with pgvector; run: pip install -r requirements-dev.txt")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs, user = _programs(Path(package.origin).parent, folder)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync"],
            **user,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        command = [programs / "postgres", "-D", data, "-k", folder, *(f"-c{each}" for each in _SETTINGS)]
        process = subprocess.Popen(command, **user, stderr=subprocess.DEVNULL)
        try:
            ready = [programs / "pg_isready", "--quiet", "--host", folder]
            until(lambda: subprocess.run(ready, check=False).returncode == 0, 30, "PostgreSQL does not answer")
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # ends at once, connections as well
            process.wait(timeout=30)


def _programs(package: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of PostgreSQL's programs, and the arguments of `subprocess` for the user that runs them. Root runs a
    copy as another user: others cannot read a home of root's.
    """
    installed = Path("pginstall", "bin")
    if os.geteuid() != 0:
        return package / installed, {}
    libraries = package.with_name("pgserver.libs")
    for each in (package, libraries):
        shutil.copytree(each, folder / each.name)
    os.chown(folder, _NOBODY, _NOBODY)
    return folder / package.name / installed, {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()}
