"""Where the files lie that belong to the server but are not its code."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent
_INSTALLED = PACKAGE / "_resources"  # in a wheel; a checkout has the folders at its top
_ROOT = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parents[1]

MODEL_REPOSITORY = _ROOT / "model_repository"
SERVER_CONFIG = _ROOT / "server_config"
BUNDLED_CHECKPOINT = _ROOT / "checkpoints" / "sentriton-ko-mini"


def load_model_code(model: str, name: str) -> ModuleType:
    """Import a helper that stands beside a model's `model.py`, such as ("pooling", "head"), so that export checks the
    very code that Triton will run."""
    qualified = f"sentriton_model_repository.{model}.{name}"
    if qualified not in sys.modules:
        spec = importlib.util.spec_from_file_location(qualified, MODEL_REPOSITORY / model / "1" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[qualified] = module
        spec.loader.exec_module(module)
    return sys.modules[qualified]


def hash_files(paths: list[Path]) -> str:
    """One sha256 over the contents of these files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
