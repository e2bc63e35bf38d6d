"""Calls at the end of the interpreter, which starts no more threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.small_server import SmallServer

PROGRAM = """
import sys
from sentriton import SentenceEncoder, SentritonError

class Last:
    def __init__(self):
        self.encoder = SentenceEncoder(sys.argv[1])
        self.encoder.encode(["w1"])

    def __del__(self):
        try:
            CALL
        except SentritonError as error:
            print(error)

last = Last()
"""


@pytest.mark.parametrize(
    "call",
    ["self.encoder.encode('w1')", "self.encoder.encode(['w1'] * 50)", "list(self.encoder.encode_stream(['w1']))"],
)
def test_a_call_in_the_last_del_is_one_sentence(call: str) -> None:
    with SmallServer() as server:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("CALL", call), server.url],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        "the interpreter is shutting down, and a call needs a new thread; make the call before the program ends\n"
    )
