"""The supervisor's canary sends golden sentences through the whole server, in a lane that callers cannot fill."""

from __future__ import annotations

import time

from sentriton.connection import Connection, ask
from sentriton.deadline import Deadline
from sentriton.endpoints import Endpoint
from sentriton.errors import InvalidInput, ServerError
from sentriton.golden import Golden
from sentriton.protocol import CANARY_LANE
from sentriton.questions import canary_questions, golden_questions
from sentriton.settings import ClientSettings

MAX_CANARY_FAILURES = 3  # in a row, while the server is ready
# Part of embed_tokens's error message for a request without the right key.
_LANE_REFUSED = f"lane is {CANARY_LANE!r}"


class OtherServer(ServerError):
    """The server that answers was not started with this canary's key."""


class Canary:
    """A connection that embeds golden sentences through `embed_text` and compares the vectors.

    `key` opens the canary's lane. Only the server that was started with this key accepts it.
    """

    def __init__(self, settings: ClientSettings, timeout_s: float, key: str) -> None:
        """Read the manifest and the golden vectors from the server. Raises the `SentritonError`s of a call, and
        `ServerError` if they are unreadable or do not match.
        """
        connection = Connection(settings.addresses[0], settings)
        self._key = key
        self._endpoint = Endpoint(connection.address, connection)
        try:
            deadline = Deadline(None, timeout_s, time.monotonic())
            self.manifest, self._golden = ask(golden_questions(self._endpoint, deadline))
        except BaseException:
            self.close()
            raise

    def check(self, timeout_s: float, sentence: int | None = None) -> float:
        """The smallest cosine to the golden vectors, over all golden sentences or of number `sentence` (modulo their
        count).

        Raises a `SentritonError` if the server does not answer or a vector exceeds the precision's bound. Raises
        `OtherServer` if the server has another key.
        """
        golden = self._golden
        if sentence is not None:
            place = sentence % len(golden.sentences)
            golden = Golden(golden.sentences[place : place + 1], golden.embeddings[place : place + 1])
        try:
            return ask(canary_questions(self._endpoint, self.manifest, golden, timeout_s, self._key))
        except InvalidInput as error:
            if _LANE_REFUSED in str(error):
                address = self._endpoint.address
                raise OtherServer(f"another server answers at {address} than the one started for it") from error
            raise

    def close(self) -> None:
        """Close the connection. A check in progress fails."""
        self._endpoint.connection.close()
