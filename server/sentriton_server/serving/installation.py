"""Finds the `tritonserver` to run, a full installation or the one of the nvidia-pytriton wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from sentriton.requirements import SERVER, how_to_install
from sentriton_server.resources import SERVER_CONFIG
from sentriton_server.serving.backends import backend_directory
from sentriton_server.serving.errors import LaunchError


@dataclass(frozen=True)
class Installation:
    """A `tritonserver` with its environment. `backends` maps a backend's name to the files of its folder. It is empty
    if the installation has its own backends.
    """

    binary: Path
    description: str
    environment: dict[str, str] = field(default_factory=dict)
    backends: dict[str, list[Path]] = field(default_factory=dict)

    def backend_arguments(self, scratch: Path) -> list[str]:
        """Triton's flags for the backends, whose files are in the environment or below `scratch`. Raises `LaunchError`
        if they cannot run.
        """
        if not self.backends:
            return []
        return [f"--backend-directory={backend_directory(self.backends, scratch / 'backends')}"]


def tritonserver_on_path() -> str | None:
    """The path of a full installation with its own backends, such as in NVIDIA's container."""
    return shutil.which("tritonserver")


def find_installation() -> Installation:
    """The full installation on PATH, else that of the wheel. Raises `LaunchError` if neither can run."""
    if on_path := tritonserver_on_path():
        return Installation(Path(on_path), f"tritonserver at {on_path}")
    return _wheel_installation()


def _wheel_installation() -> Installation:
    # Uses only the wheel's files, because importing pytriton would start its own server management.
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise LaunchError(
            "tritonserver is not on PATH, and the package nvidia-pytriton is not installed; "
            f"{how_to_install(distribution=SERVER)}"
        )
    package = Path(spec.origin).parent
    _require_numpy_1()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = package / "tritonserver/python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        supported = sorted(folder.name for folder in stub.parents[1].iterdir())
        raise LaunchError(
            f"the wheel's Triton has no Python backend for Python {version}; it has {', '.join(supported)}"
        )
    python_backend = package / "tritonserver/backends/python"
    utilities = python_backend / "triton_python_backend_utils.py"
    libraries = [str(package.parent / "nvidia_pytriton.libs"), str(libpython_folder(_library_folders()))]
    if inherited := os.environ.get("LD_LIBRARY_PATH"):
        libraries.append(inherited)
    return Installation(
        binary=package / "tritonserver/bin/tritonserver",
        description=f"tritonserver of nvidia-pytriton {metadata.version('nvidia-pytriton')}",
        environment={
            "LD_LIBRARY_PATH": ":".join(libraries),
            # The stub uses the packages of the first python on PATH.
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        },
        backends={
            "python": [python_backend / "libtriton_python.so", utilities, stub],
            # Under load, a stub of Triton 24.10 did not get the folder of the Python backend. It found these files
            # only in this folder.
            "pytorch": [*sorted((SERVER_CONFIG / "backends/pytorch").glob("*.py")), utilities],
        },
    )


def _require_numpy_1() -> None:
    version = metadata.version("numpy")
    if int(version.split(".")[0]) >= 2:
        raise LaunchError(
            f"numpy {version} is installed, and the wheel's Triton returns empty tensors with numpy 2; "
            "run: pip install 'numpy<2'"
        )


def _library_folders() -> list[Path]:
    configured = [sysconfig.get_config_var(key) for key in ("LIBDIR", "LIBPL")]
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    return [
        *(Path(value) for value in configured if value),
        Path(sys.base_prefix) / "lib",
        Path("/usr/lib") / multiarch,
    ]


def libpython_folder(folders: list[Path]) -> Path:
    """The first of `folders` with this interpreter's shared library, which the Python backend's stub needs."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise LaunchError(
        f"{sys.executable} has no shared library {name}, which Triton's Python backend needs; install it "
        f"(Debian: apt install {name.split('.so')[0]}) or use a Python that was built with --enable-shared"
    )
