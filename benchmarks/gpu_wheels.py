"""Collects the packages of `make gpu` for a machine without a network, at most 60 MB with the repository.

    python -m benchmarks.gpu_wheels FOLDER [--python 3.12] [--preset 9]

One archive has the unpacked wheels of constraints.txt, without tests, debug symbols, other Pythons' stubs and most of
transformers' architectures. The machine has torch. SciPy and scikit-learn would take 25 MB. sentence-transformers
imports them but never calls them here, so `benchmarks/gpu_setup.py` creates placeholders.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from benchmarks.workload import public_data

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 60_000_000
_SMALLEST = 9
PACKAGES = """
    annotated-doc anyio certifi cffi click cryptography grpcio h11 httpcore2 httpx2 huggingface_hub idna
    markdown-it-py mdurl ml-dtypes numpy nvidia-pytriton packaging protobuf psutil pycparser Pygments python-rapidjson
    PyYAML regex rich safetensors sentence-transformers shellingham tokenizers tqdm transformers tritonclient truststore
    typer
""".split()
PLATFORMS = [
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_35_x86_64",
    "any",
]
# Architectures of transformers to keep: this repository's encoders, and their imports. sentence-transformers imports
# the configurations of others.
ARCHITECTURES = {"auto", "bert", "camembert", "encoder_decoder", "roberta", "xlm_roberta"}
KEPT_OF_OTHERS = ("__init__", "configuration_")
UNUSED = ("tests", "*.pyi", "*.a", "numpy/f2py", "numpy/core/include", "nvidia_pytriton.libs/libpython3-*")


def pins() -> dict[str, str]:
    """The pinned requirement of each package, by its name in lower case with underscores."""
    files = (ROOT / "constraints.txt", ROOT / "docker/constraints.txt")
    lines = [line for file in files for line in file.read_text().split()]
    return {_key(line.partition("==")[0]): line for line in lines if "==" in line}


def _key(name: str) -> str:
    return name.lower().replace("-", "_")


def download(folder: Path, python: str) -> None:
    pinned = pins()
    platforms = [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", python, *platforms, "--dest", str(folder)]
    subprocess.run([*command, *(pinned.get(_key(name), name) for name in PACKAGES)], check=True)


def unpack(wheels: Path, site: Path, python: str) -> None:
    """Unpack all wheels, and remove files that `make gpu` does not need."""
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    for pattern in UNUSED:
        for path in list(site.glob(pattern) if "/" in pattern else site.rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for stub in (site / "pytriton/tritonserver/python_backend_stubs").iterdir():
        if stub.name != python:
            shutil.rmtree(stub)
    for file in (site / "transformers/models").glob("*/*.py"):
        if file.parent.name not in ARCHITECTURES and not file.name.startswith(KEPT_OF_OTHERS):
            file.unlink()
    programs = [*site.glob("pytriton/tritonserver/bin/*"), *site.glob(f"pytriton/tritonserver/*stubs/{python}/*")]
    for file in (*site.rglob("*.so"), *site.rglob("*.so.*"), *programs):
        subprocess.run(["strip", "--strip-unneeded", file], check=False, stderr=subprocess.DEVNULL)
        file.chmod(0o755)


def pack(site: Path, archive: Path, preset: int) -> None:
    """Pack the folder by the program xz, which uses all cores."""
    with archive.open("wb") as file:
        command = ["xz", "-T0", f"-{preset}", *(["--extreme"] if preset == _SMALLEST else [])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file) as xz:
            with tarfile.open(fileobj=xz.stdin, mode="w|") as packed:
                packed.add(site, "site")
            assert xz.stdin is not None
            xz.stdin.close()
    if xz.returncode:
        raise SystemExit(f"xz failed with exit code {xz.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="version on the machine with the GPU")
    parser.add_argument("--preset", type=int, default=_SMALLEST, help="preset of xz; 0 is quick and large")
    arguments = parser.parse_args()
    data = public_data("klue-sts-dev")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels, site = Path(scratch) / "wheels", Path(scratch) / "site"
        download(wheels, arguments.python)
        unpack(wheels, site, arguments.python)
        pack(site, arguments.folder / "site.tar.xz", arguments.preset)
    shutil.copyfile(data, arguments.folder / data.name)
    (arguments.folder / "python").write_text(arguments.python)
    source = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    repository, carried = len(lzma.compress(source)), sum(file.stat().st_size for file in arguments.folder.iterdir())
    print(f"{carried / 1e6:.1f} MB in {arguments.folder}, {repository / 1e6:.1f} MB of the repository")
    if repository + carried > MOST_BYTES and arguments.preset == _SMALLEST:
        raise SystemExit(f"this exceeds {MOST_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
