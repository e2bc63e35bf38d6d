"""The data and checkpoints that all tests share."""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from sentriton import SentenceEncoder
from sentriton.errors import InvalidInput
from sentriton_server.data_sets import find
from tests.bounds import set_quiet_machine
from tests.event_loop import InEventLoop

if TYPE_CHECKING:
    from tests.server.conftest import RunningServer

ROOT = Path(__file__).resolve().parents[1]
# More than half a minute each on two cores, the longest first (--durations=0 shows the time of each test).
LONGEST_FILES = (
    "test_parity.py",
    "test_training.py",
    "test_klue_sts.py",
    "test_recovery.py",
    "test_evaluate.py",
    "test_any_moment.py",
    "test_attacks.py",
    "test_isolation.py",
    "test_storage.py",
    "test_fuzz.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quiet-machine",
        action="store_true",
        help="nothing else runs on this machine: assert bounds in seconds that hold only there (make test-faults)",
    )


def pytest_configure(config: pytest.Config) -> None:
    set_quiet_machine(config.getoption("--quiet-machine"))
    # Imported modules stay: looking through a million objects of torch and transformers takes seconds of a run.
    gc.disable()
    # A shell that starts the tests in the background has them ignore these; the commands under test would do so too.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first: of several processes, none is left with a long one when the others have ended."""
    order = {file: place for place, file in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def cannot_run(reason: str) -> NoReturn:
    """Skip the test for this reason. In CI it fails, since a test may not be skipped there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def public_data(name: str) -> Path:
    """The file of a public data set (`sentriton data`). Where it is missing the test is skipped, and fails in CI."""
    try:
        return find(name)
    except InvalidInput as error:
        cannot_run(str(error))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for the test's exports. It has the operators of the common one: to compile them takes ten seconds."""
    from sentriton_server.encoder.operators import OperatorsUnavailable, build_library

    cache = tmp_path / "cache"
    cache.mkdir()
    with suppress(OperatorsUnavailable):
        (cache / "operators").symlink_to(build_library().parents[1])
    monkeypatch.setenv("SENTRITON_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Give torch one thread. Threads that spin while idle take the cores of the server under test.

    Tiny layers on many threads wait for each other far longer than they compute.

    Imported here: the process that hands tests to others needs no torch.
    """
    importlib.import_module("torch").set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The bundled checkpoint in fp32, exported once and not changed."""
    return importlib.import_module("sentriton_server.serving").prepare_repository(None, precision="fp32", device="cpu")


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The bundled checkpoint in fp32, or the server at `$SENTRITON_URL`: one for all tests that change nothing."""
    from tests.server.conftest import RunningServer, serving

    if url := os.environ.get("SENTRITON_URL"):
        yield RunningServer(url, None)
        return
    with serving(None) as running:
        yield running


@pytest.fixture
def encoder(server: RunningServer) -> Iterator[SentenceEncoder]:
    with SentenceEncoder(server.url) as encoder:
        yield encoder


@pytest.fixture(params=[SentenceEncoder, InEventLoop], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes an encoder for a server's address: a test of it runs on both."""
    return request.param


@pytest.fixture(scope="session")
def klue_sentences() -> list[str]:
    """The 1,038 sentences of KLUE-STS dev."""
    pairs = json.loads(public_data("klue-sts-dev").read_text(encoding="utf-8"))
    return [pair[side] for pair in pairs for side in ("sentence1", "sentence2")]
