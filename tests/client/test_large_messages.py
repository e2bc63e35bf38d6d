"""A message above a limit of the server or of a proxy: the input is too large, and no retry makes it smaller."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest

from sentriton import InvalidInput, SentenceEncoder
from tests.event_loop import InEventLoop
from tests.small_server import WORDS, SmallServer

LIMIT_BYTES = 5_000


@pytest.mark.parametrize("make", [SentenceEncoder, InEventLoop])
@pytest.mark.parametrize("sentences", [["w1 w2 " * 50] * 64, ["w1 w2 " * 50] * 8], ids=["requests", "a joined one"])
def test_a_request_above_a_limit_is_invalid_input_at_once(make: Any, sentences: list[str]) -> None:
    server = SmallServer()
    server.most_bytes = LIMIT_BYTES
    with server, closing(make(server.url)) as encoder:
        began = time.monotonic()
        with pytest.raises(InvalidInput) as raised:
            encoder.encode(sentences)
        assert time.monotonic() - began < 10
        for words in (f"to or from {server.url} is too large", f"vs. {LIMIT_BYTES}", "; lower batch_size"):
            assert words in str(raised.value)
        # The limit holds for a message, not for the call.
        assert encoder.encode(sentences, batch_size=4).shape == (len(sentences), 4)
        assert encoder.encode(WORDS[:64]).shape == (64, 4)
