"""The paths of the server's files other than its code."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent
_INSTALLED = PACKAGE / "_resources"  # only in a wheel; a checkout has these folders in its root
_ROOT = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parents[1]

MODEL_REPOSITORY = _ROOT / "model_repository"
SERVER_CONFIG = _ROOT / "server_config"
BUNDLED_CHECKPOINT = _ROOT / "checkpoints" / "sentriton-ko-mini"
PARITY_SENTENCES = PACKAGE / "parity_sentences.txt"


def load_model_code(model: str, name: str) -> ModuleType:
    """Import a module from a model's folder, such as ("pooling", "head"). So the export checks the same code that
    Triton runs. The folder becomes a package, as in Triton, so that its modules can import each other relatively.
    """
    package = f"sentriton_model_{model}"
    if package not in sys.modules:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(MODEL_REPOSITORY / model / "1")]
        sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{package}.{name}")


def hash_files(paths: list[Path]) -> str:
    """The sha256 over the contents of these files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
