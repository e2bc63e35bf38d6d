"""What all tests share: data, checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from sentriton.errors import InvalidInput
from sentriton_server.data_sets import find

# The server under test computes on the same cores: threads here that spin until there is work would take them from it.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


def public_data(name: str) -> Path:
    """The file of a public data set (`sentriton data`). Where it is missing the test is skipped, and fails in CI."""
    try:
        return find(name)
    except InvalidInput as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def klue_sentences() -> list[str]:
    """The 1,038 sentences of KLUE-STS dev."""
    pairs = json.loads(public_data("klue-sts-dev").read_text(encoding="utf-8"))
    return [pair[side] for pair in pairs for side in ("sentence1", "sentence2")]
