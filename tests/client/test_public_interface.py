"""The client's public interface: its names, its keyword arguments, and the error of an unknown argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import sentriton
import sentriton.errors
import sentriton.keywords
from sentriton import SentenceEncoder
from tests.conftest import ROOT
from tests.event_loop import InEventLoop
from tests.small_server import WORDS, SmallServer, vectors

PAGE = ROOT / "docs/python-client.md"


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    with SmallServer() as server:
        yield server


@pytest.fixture(scope="module", params=[SentenceEncoder, InEventLoop], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param


@pytest.fixture(scope="module")
def encoder(connect: Callable[..., Any], server: SmallServer) -> Iterator[Any]:
    with closing(connect(server.url)) as encoder:
        yield encoder


def test_all_names_without_an_underscore_are_public_and_no_others() -> None:
    names = {name for name, value in vars(sentriton).items() if not isinstance(value, ModuleType)}
    public = {name for name in names if not name.startswith("_")} | {"__version__"}
    assert sorted(sentriton.__all__) == sorted(public)


def test_public_classes_say_what_they_are() -> None:
    for name in sentriton.__all__:
        value = getattr(sentriton, name)
        assert not inspect.isclass(value) or value.__doc__


@pytest.mark.parametrize("name", ["truncat_dim", "batchsize", "model_kwargs", "input"])
@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document", "encode_stream"])
def test_a_misspelt_option_is_refused(method: str, name: str, encoder: Any) -> None:
    with pytest.raises(TypeError, match=f"unexpected argument '{name}'; its options are .*truncate_dim"):
        list(getattr(encoder, method)([], **{name: 8}))


def test_a_misspelt_setting_is_refused(connect: Callable[..., Any], server: SmallServer) -> None:
    with pytest.raises(TypeError, match=r"unexpected argument 'timout_s'; its options are url, timeout_s, "):
        connect(server.url, timout_s=3)


def test_sentences_of_a_stream_have_two_names_too(encoder: Any) -> None:
    for given in ({"sentences": WORDS[:5]}, {"inputs": WORDS[:5]}):
        chunks = list(encoder.encode_stream(**given, chunk_size=3))
        assert [len(chunk) for chunk in chunks] == [3, 2]
        np.testing.assert_array_equal(np.concatenate(chunks), vectors(WORDS[:5]))


ERRORS = [name for name in sentriton.__all__ if name in vars(sentriton.errors)]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("sentriton", sentriton.__all__),
        ("sentriton.errors", ERRORS),
        ("sentriton.keywords", sentriton.keywords.__all__),
    ],
)
def test_the_page_of_the_python_client_lists_the_public_names(module: str, names: list[str]) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(module)}` \| (.*) \|$", PAGE.read_text("utf-8"), re.M)
    assert row.split(", ") == [f"`{name}`" for name in names]
