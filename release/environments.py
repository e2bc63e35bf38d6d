"""Clean environments for a first call, without the checkout on their path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from release.build import ROOT

CONSTRAINTS = ROOT / "constraints.txt"
_OWN = ("sentriton", "_editable_impl_sentriton")


def link_third_party(folder: Path) -> Path:
    """A folder with links to all packages of this environment except the project's own.

    So a clean environment needs no copy of torch and Triton (some GB). Python reads no .pth file in it, so no editable
    install leads back to the checkout.
    """
    folder.mkdir(parents=True)
    for packages in (Path(path) for path in sys.path if path.endswith("site-packages")):
        for entry in packages.iterdir():
            link = folder / entry.name
            if not entry.name.startswith(_OWN) and not link.is_symlink():
                link.symlink_to(entry)
    return folder


class Environment:
    """A virtual environment in `folder`, with the packages in `third_party`, if given."""

    def __init__(self, folder: Path, third_party: Path | None = None) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        if third_party is not None:
            (self._site_packages / "third_party.pth").write_text(f"{third_party}\n")

    @property
    def _site_packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    @property
    def variables(self) -> dict[str, str]:
        """This process's variables, except those of the checkout and of Sentriton's settings."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("SENTRITON_")
        }
        return kept | {"PATH": f"{self.folder / 'bin'}:{kept['PATH']}", "SENTRITON_CACHE": str(self.folder / "cache")}

    def pip(self, *arguments: str | Path) -> None:
        """Run pip of this process's environment for this one."""
        python = self.folder / "bin/python"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, *map(str, arguments)], env=self.variables, check=True, timeout=600)

    def sentriton(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command `sentriton`, with text output."""
        command = [str(self.folder / "bin/sentriton"), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False, timeout=120
        )
