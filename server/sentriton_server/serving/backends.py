"""The backend directory of the wheel's Triton: its Python backend, and the stand-in for the libtorch backend.

`python -m sentriton_server.serving.prepare` writes it once into the environment, for servers whose temporary folder
does not run programs (docker/install.sh does this). Elsewhere each server writes it into its scratch folder.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentriton_server.serving.errors import LaunchError

# In the environment, so that no other user can replace the programs of a server.
PREPARED_BACKENDS = Path(sys.prefix) / "libexec/sentriton/backends"

Backends = Mapping[str, Sequence[Path]]


def backend_directory(backends: Backends, scratch: Path, prepared: Path = PREPARED_BACKENDS) -> Path:
    """The folder with a subfolder for each backend. `backends` maps names to files.

    It is `prepared` if that has these files. Otherwise this writes them to `scratch`. Raises `LaunchError` if programs
    in `scratch` cannot run.
    """
    if _is_current(backends, prepared):
        return prepared
    _require_exec(scratch)
    write(backends, scratch)
    return scratch


def write(backends: Backends, folder: Path) -> None:
    """Write the files of `backends` that are missing or outdated in `folder`. Running servers are not disturbed."""
    for name, files in backends.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            # Copies, since Triton rejects a backend library whose link leads out of the backend directory.
            copy = folder / name / file.name
            if not _is_copy(file, copy):
                new = copy.with_name(f"{copy.name}.new")
                shutil.copy2(file, new)
                new.replace(copy)


def _is_current(backends: Backends, prepared: Path) -> bool:
    """Whether this release wrote `prepared`. After an upgrade it still has the files of the previous release."""
    return all(_is_copy(file, prepared / name / file.name) for name, files in backends.items() for file in files)


def _is_copy(file: Path, copy: Path) -> bool:
    return copy.is_file() and filecmp.cmp(file, copy, shallow=False)


def _require_exec(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    if os.statvfs(existing).f_flag & os.ST_NOEXEC:
        raise LaunchError(
            f"{existing} is mounted noexec, and Triton loads its backends from there; mount it exec "
            "(docker run --tmpfs /tmp:exec), set TMPDIR to a folder that is, or prepare the backends once within this "
            f"environment: {sys.executable} -m sentriton_server.serving.prepare"
        )
