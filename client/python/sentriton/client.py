"""`SentenceEncoder`: sentence-transformers' `encode`, computed by a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from sentriton.base import BaseEncoder
from sentriton.call import Call, Pin
from sentriton.connection import Connection, ask
from sentriton.deadline import Deadline
from sentriton.dispatch import Dispatcher
from sentriton.endpoints import Endpoint, Endpoints
from sentriton.errors import ContractMismatch
from sentriton.golden import HEALTH_TIMEOUT_S, HealthReport
from sentriton.joined_dispatch import JoinedDispatcher
from sentriton.keywords import Encoded, Sentences
from sentriton.manifest import Manifest
from sentriton.options import DOCUMENT_PROMPTS, QUERY_PROMPTS
from sentriton.questions import health_questions, model_questions
from sentriton.served_model import ServedModel
from sentriton.signatures import encode_signature, stream_signature
from sentriton.stream import encode_chunks, stream_arguments

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from sentriton.keywords import AnyArguments, Settings


class SentenceEncoder(BaseEncoder[Connection]):
    """Embeds sentences through a Sentriton server, with the `encode` and similarity methods of `SentenceTransformer`.

    `url` is host:port, several addresses separated by commas, or dns:///host:port. `ClientSettings` documents the other
    arguments. An encoder is thread-safe. After a fork, open a new encoder in the child. Raises a `SentritonError` if no
    server answers.

    >>> with SentenceEncoder("localhost:8001") as encoder:
    ...     embeddings = encoder.encode(["A first sentence.", "And a second one."])
    """

    def __init__(self, url: str | None = None, **settings: Unpack[Settings]) -> None:
        super().__init__(url, **settings)
        endpoints = [Endpoint(each, Connection(each, self.settings)) for each in self.settings.addresses]
        self._session.open(Endpoints(endpoints))
        self._reloading = threading.Lock()
        try:
            self._session.served = ask(model_questions(self._session.open_endpoints, self._session.deadline()))
        except BaseException:
            self.close()
            raise

    @encode_signature
    def encode(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Encoded:
        """Return the embeddings: float32 [sentences, dimension] in order, or [dimension] for a single string.

        `inputs` is another name for `sentences`. `prompt`, or the prompt named `prompt_name`, precedes every sentence.
        The default is the model's default prompt, if any, and `prompt=""` turns it off. The other arguments:

        - `batch_size`: largest number of sentences per request (None: the server's limit)
        - `truncate_dim`: keeps only the first dimensions of each vector
        - `normalize_embeddings`: scales each vector to length 1, after truncation
        - `precision`: float32, int8, uint8, binary or ubinary (None: float32). binary and ubinary pack 8 dimensions
          into an int8 or uint8. int8 and uint8 need two sentences or more. Compare them only within one call.
        - `output_value`: "token_embeddings" returns a list of matrices [tokens, hidden], one per sentence. They are
          torch tensors if torch is installed and `precision` is float32.
        - `convert_to_tensor`: returns a torch tensor
        - `convert_to_numpy`: False returns a list of tensors
        - `show_progress_bar`: shows a progress bar on standard error (None: off)
        - `timeout_s`: deadline of the whole call (None: the encoder's `timeout_s`)
        - `device`, `pool`: no effect
        - `chunk_size`: only for `encode_stream`

        Raises `InvalidInput` for an invalid argument or request, `ContractMismatch` if the server has another model,
        and another `SentritonError` if a request fails. An unknown option raises `TypeError`.

        >>> encoder.encode(["A first sentence.", "And a second one."]).shape
        (2, 256)
        """
        return self._encode(Call(self._session, sentences, prompt_name, prompt, arguments))

    @encode_signature
    def encode_query(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Encoded:
        """Like `encode`, but prefers the model's "query" prompt to its default prompt.

        >>> encoder.encode_query("Who?").shape
        (256,)
        """
        call = Call(self._session, sentences, prompt_name, prompt, arguments, preferred_prompts=QUERY_PROMPTS)
        return self._encode(call)

    @encode_signature
    def encode_document(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Encoded:
        """Like `encode`, but prefers the model's "document", "passage" or "corpus" prompt to its default prompt.

        >>> encoder.encode_document(["A text."]).shape
        (1, 256)
        """
        call = Call(self._session, sentences, prompt_name, prompt, arguments, preferred_prompts=DOCUMENT_PROMPTS)
        return self._encode(call)

    @stream_signature
    def encode_stream(
        self,
        sentences: Iterable[str] | None = None,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Generator[Encoded]:
        """Yield the embeddings in order, in arrays of at most `chunk_size` rows (None: 2,048). Memory stays constant.

        `sentences`, or `inputs`, is an iterable of strings, read at most two chunks ahead of the caller. The options
        and errors are those of `encode`, without int8 and uint8. `timeout_s` bounds each chunk. Closing the stream
        cancels its requests.

        >>> for chunk in encoder.encode_stream(lines):
        ...     print(chunk.shape)
        (2, 256)
        """
        given, size, arguments = stream_arguments(sentences, arguments)
        self._session.check_interpreter()
        pin = Pin(self._session.model)

        def encode(chunk: list[str]) -> Encoded:
            return self._encode(Call(self._session, chunk, prompt_name, prompt, arguments, pin=pin))

        with self._session.checking():
            yield from encode_chunks(given, size, encode, pin.left.set)

    def info(self) -> Manifest:
        """Return the served model's manifest, without a request. Raises `SentritonError` if closed.

        >>> encoder.info().dimension
        256
        """
        self._session.check_open()
        return self.manifest

    def health(self, timeout_s: float = HEALTH_TIMEOUT_S) -> HealthReport:
        """Check the first server: compare its vectors of the golden sentences with those of sentence-transformers.

        Raises `ServerError` if a cosine is below the manifest's `min_cosine`, and another `SentritonError` if the
        server does not answer within `timeout_s`.

        >>> encoder.health().min_cosine > 0.999
        True
        """
        self._session.check_usable()
        first = self._session.open_endpoints.all[0]
        with self._session.checking():
            return ask(health_questions(first, self._session.deadline(timeout_s)))

    def close(self) -> None:
        """Close the connections. Leaving a `with` block does this too. Calls in progress raise a `SentritonError`."""
        try:
            for pause_s in self._session.close():
                time.sleep(pause_s)
        finally:
            for endpoint in self._session.open_endpoints.all:
                endpoint.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _encode(self, call: Call[Connection]) -> Encoded:
        while True:
            call.begin()
            try:
                if not (call.is_small and JoinedDispatcher(call).run()):
                    call.open_course()
                    Dispatcher(call).run()
                return call.finish()
            except ContractMismatch as error:
                self._reload(call.changed(error), call.deadline)

    def _reload(self, old: ServedModel, deadline: Deadline) -> None:
        """Switch to the served model, unless another thread did."""
        with self._reloading:
            if self._session.model is old:
                questions = model_questions(self._session.open_endpoints, deadline, old)
                with self._session.checking():
                    self._session.served = ask(questions)
