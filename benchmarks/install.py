"""How many packages and how much disk and time do client, gateway and server take?

    .venv/bin/python -m benchmarks.install [--parts client gateway server] [--torch-index URL]

pip installs each part of the checkout into an empty environment, with the versions of constraints.txt and from its
configured indices. `--torch-index` adds one with CPU builds of torch. `cached` says whether pip's cache had the wheels.
`mb` is the environment's disk usage without pip. `cuda_mb` is the share of the packages for NVIDIA GPUs, with torch's
libraries for CUDA.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import print_report
from benchmarks.workload import hardware
from release.build import ROOT
from release.environments import CONSTRAINTS

PARTS = {"client": ("client/python",), "gateway": ("client/python", "gateway"), "server": ("client/python", "server")}
CUDA = ("nvidia/", "triton/", "torch/lib/libtorch_cuda", "torch/lib/libc10_cuda", "torch/lib/libcaffe2_nvrtc")


def installed(part: str, folder: Path, torch_index: str | None) -> dict[str, Any]:
    """Install a part into a new environment in `folder`, and measure it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    index = [] if torch_index is None else ["--extra-index-url", torch_index]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check"]
    places = [str(ROOT / place) for place in PARTS[part]]
    started = time.monotonic()
    done = subprocess.run(
        [*pip, "install", "--constraint", str(CONSTRAINTS), *index, *places], check=True, capture_output=True, text=True
    )
    seconds = time.monotonic() - started
    packages = next(folder.glob("lib/python*/site-packages"))
    files = [file for file in packages.rglob("*") if file.is_file() and not file.is_symlink()]
    cuda = [file for file in files if str(file.relative_to(packages)).startswith(CUDA)]
    return {
        "part": part,
        "packages": len(list(packages.glob("*.dist-info"))),
        "mb": megabytes(files),
        "cuda_mb": megabytes(cuda),
        "seconds": round(seconds),
        "cached": "Using cached" in done.stdout,
    }


def megabytes(files: list[Path]) -> int:
    """The disk usage of files."""
    return round(sum(512 * file.stat().st_blocks for file in files) / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--torch-index")
    arguments = parser.parse_args()
    rows = []
    for part in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(installed(part, Path(folder) / "environment", arguments.torch_index))
    print_report("install", f"installations, Python {sys.version.split()[0]}, {hardware()}", rows)


if __name__ == "__main__":
    main()
