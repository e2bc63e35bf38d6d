"""Creates an environment for `make gpu` without a network, from the files of `benchmarks.gpu_wheels` and the machine's
torch.

    python3.12 benchmarks/gpu_setup.py WHEELS ENVIRONMENT

Run it with the Python that has torch. The environment has links to torch and to torch's requirements. It has no other
package of that Python, since Triton's Python backend needs numpy 1, and others may need numpy 2. The program needs only
the standard library.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# sentence-transformers imports these at its start, for functions that are never called here.
PLACEHOLDERS = '''"""In place of SciPy and scikit-learn: their names can be imported, and nothing can be called."""

import importlib.abc
import importlib.machinery
import sys


class Absent:
    def __init__(self, *arguments, **further):
        raise ImportError("SciPy and scikit-learn are placeholders in this environment (benchmarks/gpu_setup.py)")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("scipy", "sklearn"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module):
        module.__version__ = "0"
        module.__getattr__ = absent


def absent(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent


sys.meta_path.append(Finder())
'''
COMMANDS = """[sentriton.commands]
serve = sentriton_server.commands:app
export = sentriton_server.commands:app

[sentriton.checkpoints]
read = sentriton_server.checkpoint:read_checkpoint
"""
# FlashAttention is used where the machine has it.
ALSO = ["flash-attn"]
PROGRAM = "#!{python}\nimport sys\nfrom sentriton.cli import main\nsys.exit(main())\n"


def with_requirements(*names: str) -> dict[str, metadata.Distribution]:
    """The installed distributions of `names` and of their requirements, by name. Extras are left out."""
    found: dict[str, metadata.Distribution] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        required = [line for line in found[name].requires or [] if "extra ==" not in line]
        wanted += [re.match(r"[\w.-]+", line)[0] for line in required]  # type: ignore[index]
    return found


def link(distribution: metadata.Distribution, packages: Path) -> None:
    """Link the top folders and files of a distribution into `packages`, except those that are already there."""
    # A package of a Linux distribution may have no list of its files.
    files = {file.parts[0] for file in distribution.files or []} or {distribution.name.replace("-", "_")}
    for top in files - {"..", "__pycache__"}:
        source, target = Path(str(distribution.locate_file(top))), packages / top
        if source.exists() and not target.exists():
            target.symlink_to(source)


def main() -> None:
    wheels, environment = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (wheels / "python").is_file():
        raise SystemExit(
            f"{wheels} has no wheels; run `make data gpu-wheels` on a machine with a network, and copy the folder"
        )
    collected = (wheels / "python").read_text()
    if collected != version:
        raise SystemExit(f"{wheels} is for Python {collected}, and this is {version}; run that one, or collect again")
    distributions = with_requirements("torch", *ALSO)
    if "torch" not in distributions:
        raise SystemExit(f"{sys.executable} has no torch; run the Python that has it: make gpu PYTHON=…")
    venv.create(environment, with_pip=False, clear=True)
    packages = environment / f"lib/python{version}/site-packages"
    with tarfile.open(wheels / "site.tar.xz") as archive:
        for member in archive.getmembers():
            member.name = member.name.partition("/")[2]
            if member.name:
                archive.extract(member, packages)
    (packages / "_placeholders.py").write_text(PLACEHOLDERS)
    for distribution in distributions.values():
        link(distribution, packages)
    also = [ROOT / "client/python", ROOT / "server"]
    (packages / "gpu.pth").write_text("".join(f"{folder}\n" for folder in also) + "import _placeholders\n")
    about = packages / "sentriton_server-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sentriton-server\nVersion: 0\n")
    (about / "entry_points.txt").write_text(COMMANDS)
    program = environment / "bin/sentriton"
    program.write_text(PROGRAM.format(python=environment / "bin/python"))
    program.chmod(0o755)
    torch = distributions["torch"]
    subprocess.run([environment / "bin/python", "-c", "import torch"], check=True)
    print(f"{environment} is ready: Python {version}, {sysconfig.get_platform()}, torch {torch.version}")


if __name__ == "__main__":
    main()
