"""The supervisor's canary: golden sentences through the whole server, in a lane that callers cannot fill."""

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

MAX_CANARY_FAILURES = 3  # in a row, of a server that serves
# embed_tokens's words to a request without its key.
_LANE_REFUSED = f"lane is {CANARY_LANE!r}"


class OtherServer(ServerError):
    """The server that answers was not started with the canary's key."""


class Canary:
    """A connection that embeds golden sentences through `embed_text` and compares.

    With the `key` that the server was started with they have a lane of their own, and only that server answers.
    """

    def __init__(self, settings: ClientSettings, timeout_s: float, key: str) -> None:
        """Read manifest and golden vectors from the server. Raises the `SentritonError`s of a call, and `ServerError`
        where they are unreadable, or the golden vectors are not the manifest's.
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
        """The smallest cosine to the golden vectors, of all golden sentences or of `sentence`, modulo their number.

        Raises a `SentritonError` if the server does not answer, or if a vector exceeds the precision's bound;
        `OtherServer` if the key is not the server's.
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
                raise OtherServer(f"{address} is answered by another server than the one started for it") from error
            raise

    def close(self) -> None:
        """Close the connection; a check that is in progress ends with an error."""
        self._endpoint.connection.close()
