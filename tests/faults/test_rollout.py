"""A roll-out of another model under load: no call has vectors of both models."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import ContractMismatch, SentenceEncoder
from sentriton_server.serving import prepare_repository
from tests.checkpoints import make_checkpoint
from tests.faults.conftest import Served, check, serve
from tests.faults.load import SENTENCES, Load
from tests.faults.proxy import FaultyProxy


@pytest.fixture(scope="module")
def successor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with another model, whose vectors are as long as the bundled one's: only their values tell."""
    checkpoint = make_checkpoint(tmp_path_factory.mktemp("successor"), hidden_size=256, num_attention_heads=4)
    repository = prepare_repository(str(checkpoint), precision="fp32", device="cpu")
    with serve(repository) as running:
        yield running


def test_callers_that_reload_go_on_with_the_new_model(
    served: Served, successor: Served, expected: NDArray[np.float32]
) -> None:
    with SentenceEncoder(successor.url) as encoder:
        of_successor: NDArray[np.float32] = encoder.encode(SENTENCES)
    assert of_successor.shape == expected.shape
    with (
        FaultyProxy(served.url) as proxy,
        Load(proxy.url, expected, of_successor, on_model_change="reload") as load,
    ):
        time.sleep(1)
        proxy.lead_to(successor.url)
        rolled_out = time.monotonic()
        recovery_s = load.recovery_s(rolled_out)
        with SentenceEncoder(proxy.url) as encoder:
            np.testing.assert_allclose(encoder.encode(SENTENCES), of_successor, atol=1e-5)
        time.sleep(0.5)
    check("roll-out to another model, callers reload", load, recovery_s)


def test_callers_that_do_not_are_told_so(served: Served, successor: Served, expected: NDArray[np.float32]) -> None:
    with FaultyProxy(served.url) as proxy, SentenceEncoder(proxy.url) as encoder:
        np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-5)
        proxy.lead_to(successor.url)
        for _ in range(3):
            with pytest.raises(ContractMismatch, match="fingerprint mismatch"):
                encoder.encode(SENTENCES)
