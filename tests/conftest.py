"""What all tests share: data, checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

# The server under test computes on the same cores: threads here that spin until there is work would take them from it.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quiet-machine",
        action="store_true",
        help="nothing else runs on this machine: assert bounds in seconds that hold only there (make test-faults)",
    )


def shared_data(name: str) -> Path:
    """A file of the project's data folder: `$SENTRITON_DATA`, else ../shared/data. Where it is missing the test is
    skipped, and fails in CI."""
    path = Path(os.environ.get("SENTRITON_DATA", ROOT.parent / "shared" / "data")) / name
    if not path.is_file():
        message = f"needs {name} in ../shared/data (or $SENTRITON_DATA)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def klue_sentences() -> list[str]:
    """The 1,038 sentences of KLUE-STS dev."""
    pairs = json.loads(shared_data("klue-sts-v1.1_dev.json").read_text(encoding="utf-8"))
    return [pair[side] for pair in pairs for side in ("sentence1", "sentence2")]
