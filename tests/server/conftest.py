"""Real Tritons on free ports, each for as many tests as can share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import InvalidInput, protocol
from sentriton.connection import Connection
from sentriton.evaluation import read_pairs
from sentriton.tokenization import pack_rows
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, prepare_repository
from tests.conftest import public_data
from tests.ports import FREE_PORTS
from tests.servers import started
from tests.waiting import until

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class RunningServer:
    """A server under test. `metrics_url` and `canary_key` are None where only its gRPC address is known."""

    url: str
    metrics_url: str | None
    canary_key: str | None = None

    def published(self, name: str, **labels: str) -> float:
        """`metric`, with all that has happened so far counted in it."""
        self.wait_for_counts()
        return self.metric(name, **labels)

    def wait_for_counts(self) -> None:
        """Return once embed_tokens and then embed_text have published their counts so far, which each does once per
        second.

        A request that is refused is sent behind them, which changes nothing but its own counts, in the canary's lane.
        There, embed_text counts no other request. When it is asked, embed_tokens has published all refused ones.
        """
        other_model = protocol.parameters(fingerprint="0" * 64, canary_key=self.canary_key)
        no_text = protocol.text_request(["x"], protocol.parameters(canary_key=self.canary_key))
        no_text.raw_input_contents[0] = no_text.raw_input_contents[0].replace(b"x", b"\xff")
        connection = Connection(self.url)
        for request, came in (
            (
                protocol.tokens_request(pack_rows([[1]]), other_model),
                partial(self.metric, "sentriton_requests_total", lane="canary"),
            ),
            (no_text, partial(self.metric, "sentriton_refused_requests_total", reason="invalid")),
        ):
            # A count that changes while the request is under way may be an earlier one's.
            before, sent = 0.0, -1.0
            while sent != before:
                before = came()
                with pytest.raises(InvalidInput):
                    connection.infer(request, 30)
                sent = came()
            until(lambda came=came, sent=sent: came() != sent, 30, "a model publishes no counts")
            time.sleep(0.1)  # a publication takes some milliseconds, metric by metric
        connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """The value of one of Triton's Prometheus metrics, summed over the series with these labels."""
        if self.metrics_url is None:
            pytest.skip("needs the metrics of a server that the tests start themselves (SENTRITON_URL is set)")
        with urlopen(self.metrics_url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        series = [
            line
            for line in lines
            if line.startswith((f"{name}{{", f"{name} ")) and all(text in line for text in wanted)
        ]
        assert series, f"the server has no metric {name} with {labels}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in series)


@contextmanager
def serving(
    checkpoint: str | Path | None, precision: str = "fp32", settings: ServerSettings = FREE_PORTS
) -> Iterator[RunningServer]:
    """Serve a checkpoint (None: the bundled one) on free ports; exports are cached by content between runs.

    Fails with the server's log if Triton ended meanwhile: the tests themselves see only refused connections.
    """
    repository = prepare_repository(None if checkpoint is None else str(checkpoint), precision=precision, device="cpu")
    with started(repository, settings) as server:
        assert server.process is not None
        yield RunningServer(server.url, server.metrics_url, server.process.canary_key)
        log = "\n".join(map(str, server.process.log()[-60:]))
        assert server.process.exit_code() is None, f"{server.what_ended()}; the end of its log:\n{log}"


@pytest.fixture(scope="session", params=["fp32", "bf16", "int8"])
def in_precision(request: pytest.FixtureRequest) -> Iterator[tuple[RunningServer, str]]:
    """The bundled checkpoint in each precision; pytest runs all tests of one precision before the next."""
    if request.param == "fp32":
        yield request.getfixturevalue("server"), "fp32"
        return
    with serving(None, request.param) as running:
        yield running, request.param


@cache
def load_reference(checkpoint: Path) -> SentenceTransformer:
    # Only some of the processes that run tests need it, and it takes seconds.
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    return SentenceTransformer(str(checkpoint), device="cpu")


@pytest.fixture(scope="session")
def reference() -> SentenceTransformer:
    """The bundled checkpoint in sentence-transformers."""
    return load_reference(BUNDLED_CHECKPOINT)


@pytest.fixture(scope="session")
def reference_embeddings(klue_sentences: list[str]) -> Callable[[Path], NDArray[np.float32]]:
    """The embeddings of the KLUE-STS sentences by sentence-transformers, by checkpoint folder."""

    @cache
    def embed(checkpoint: Path) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = load_reference(checkpoint).encode(klue_sentences)
        return embeddings

    return embed


@pytest.fixture(scope="session")
def klue_pairs() -> Path:
    """The file of the 519 scored pairs of KLUE-STS dev."""
    return public_data("klue-sts-dev")


@pytest.fixture(scope="session")
def evaluator_figures(klue_pairs: Path, reference: SentenceTransformer) -> dict[str, float]:
    """The ten figures of sentence-transformers' evaluator for the bundled checkpoint."""
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    sentences1, sentences2, scores, _ = zip(*read_pairs(str(klue_pairs)), strict=True)
    evaluator = EmbeddingSimilarityEvaluator(
        list(sentences1),
        list(sentences2),
        list(scores),
        similarity_fn_names=["cosine", "manhattan", "euclidean", "dot"],
        write_csv=False,
    )
    figures: dict[str, float] = evaluator(reference)
    return figures
