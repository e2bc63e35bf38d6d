"""Readiness that means something: the golden sentences, embedded by the server, must come back as
sentence-transformers has them.
"""

from __future__ import annotations

import time

from sentriton import protocol
from sentriton.connection import Connection, ask
from sentriton.deadline import Deadline
from sentriton.endpoints import Endpoint
from sentriton.errors import InvalidInput, ServerError
from sentriton.golden import HealthReport, smallest_cosine
from sentriton.kserve import ModelInferRequest, ModelInferResponse
from sentriton.questions import health_questions
from sentriton.settings import ClientSettings

# embed_tokens's words to a request without its key.
_LANE_REFUSED = f"lane is {protocol.CANARY_LANE!r}"


class OtherServer(ServerError):
    """The server that answers was not started with the canary's key."""


class Canary:
    """A connection that embeds golden sentences through `embed_text` and compares.

    They travel in the query lane. With the `key` that the server was started with they have a lane of their own, and
    only that server answers.
    """

    def __init__(self, settings: ClientSettings, timeout_s: float, key: str | None = None) -> None:
        """Read manifest and golden vectors from the server. Raises the `SentritonError`s of a call, and `ServerError`
        where they are unreadable, or the golden vectors are not the manifest's.
        """
        self._url = settings.url
        self._key = key
        self._connection = Connection(settings.addresses[0], settings)
        try:
            self.manifest = self._connection.manifest(timeout_s)
            golden = self._connection.golden(self.manifest, timeout_s)
        except BaseException:
            self.close()
            raise
        self._sentences = golden.sentences
        self._expected = golden.embeddings  # float32 [sentences, dimension]

    def check(self, timeout_s: float, sentence: int | None = None) -> float:
        """The smallest cosine to the golden vectors, of all golden sentences or of one (counted round and round).

        Raises a `SentritonError` when the server does not answer, or when a vector lies further from the golden one
        than the precision's bound; `OtherServer` when the key is not the server's.
        """
        chosen = slice(None)
        if sentence is not None:
            at = sentence % len(self._sentences)
            chosen = slice(at, at + 1)
        parameters = protocol.parameters(
            fingerprint=self.manifest.fingerprint, timeout_s=timeout_s, canary_key=self._key
        )
        request = protocol.text_request(self._sentences[chosen], parameters)
        expected = self._expected[chosen]
        response = self._infer(request, timeout_s)
        embeddings = protocol.read_sentence_embedding(response, len(expected), self.manifest.dimension)
        return smallest_cosine(self._url, self.manifest, embeddings, expected)

    def _infer(self, request: ModelInferRequest, timeout_s: float) -> ModelInferResponse:
        try:
            return self._connection.infer(request, timeout_s)
        except InvalidInput as error:
            if self._key is not None and _LANE_REFUSED in str(error):
                raise OtherServer(f"{self._url} is answered by another server than the one started for it") from error
            raise

    def close(self) -> None:
        """Close the connection; a check that is under way ends with an error."""
        self._connection.close()


def check_canary(settings: ClientSettings, timeout_s: float = 10.0) -> HealthReport:
    """Embed all golden sentences once, at the first server of `settings`. Raises as `SentenceEncoder.health` does."""
    connection = Connection(settings.addresses[0], settings)
    try:
        deadline = Deadline(timeout_s, timeout_s, time.monotonic())
        return ask(health_questions(Endpoint(connection.address, connection), deadline))
    finally:
        connection.close()
