"""`SentenceEncoder`: sentence-transformers' `encode`, computed by a server."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from numpy.typing import NDArray

from sentriton.arguments import Sentences
from sentriton.assets import kept_tokenizer, read_tokenizer
from sentriton.base import BaseEncoder, EncodeOptions, Results, ServedModel
from sentriton.connection import Connection
from sentriton.deadline import Deadline
from sentriton.dispatch import Sending
from sentriton.endpoints import Endpoint, Endpoints, Inquiry
from sentriton.errors import ContractMismatch, SentritonError
from sentriton.manifest import TOKENIZER
from sentriton.progress import progress_bar
from sentriton.stream import CHUNK_SIZE, chunks, counted_from, stream_chunk_size

_GLANCE_S = 0.25  # between two looks at whether the encoder was closed while nothing came back


class SentenceEncoder(BaseEncoder):
    """Embeds sentences through a Sentriton server, with the methods and results of `SentenceTransformer`.

    `url` is host:port, several with commas between, or dns:///host:port. Manifest and tokenizer come from the server,
    so there is nothing else to configure; see `ClientSettings` for what can be set, by argument or `$SENTRITON_...`.
    Safe for many threads; not across a fork.

    >>> with SentenceEncoder("localhost:8001") as encoder:
    ...     embeddings = encoder.encode(["A first sentence.", "And a second one."])
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float | None = None,
        stall_timeout_s: float | None = None,
        priority: str | None = None,
        max_in_flight: int | None = None,
        on_model_change: str | None = None,
        tls: bool | None = None,
        root_certificates: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
        server_name: str | None = None,
        access_key: str | None = None,
    ) -> None:
        super().__init__(
            url=url,
            timeout_s=timeout_s,
            stall_timeout_s=stall_timeout_s,
            priority=priority,
            max_in_flight=max_in_flight,
            on_model_change=on_model_change,
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            server_name=server_name,
            access_key=access_key,
        )
        connections = [Connection(address, self.settings) for address in self.settings.addresses]
        self._reloading = threading.Lock()
        self._endpoints = Endpoints([Endpoint(connection.address, connection) for connection in connections])
        try:
            self._served = self._read_model(self._deadline())
        except BaseException:
            self.close()
            raise

    def encode(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        *,
        inputs: Sentences | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Embed sentences: float32 [n, dimension] in the order given, or [dimension] for a single string.

        `inputs` is another name for `sentences`. `prompt`, or the one that `prompt_name` names, is put before every
        sentence. `batch_size` is the most rows of one request (None: as many as the server takes). `truncate_dim` keeps
        the first dimensions, `normalize_embeddings` scales to length 1 after that, and `precision` (float32, int8,
        uint8, binary, ubinary) makes smaller vectors at last. `output_value` "token_embeddings" gives a list of
        [tokens, hidden] instead.
        `device`, `pool` and `chunk_size` are accepted for sentence-transformers' sake: the server decides. `timeout_s`
        bounds the whole call; unset, it goes on as long as answers come, at least one in `stall_timeout_s`. Raises
        `InvalidInput` before anything is sent, and the other `SentritonError`s.
        """
        deadline = self._deadline(timeout_s)
        texts, single = self._texts(sentences, inputs, deadline)
        for changes in itertools.count(1):
            model = self._model
            options = self._options(
                model,
                single=single,
                prompt_name=prompt_name,
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                output_value=output_value,
                precision=precision,
                convert_to_numpy=convert_to_numpy,
                convert_to_tensor=convert_to_tensor,
                normalize_embeddings=normalize_embeddings,
                truncate_dim=truncate_dim,
            )
            results = Results(len(texts), options)
            try:
                self._run(texts, model, options, results, deadline)
                break
            except ContractMismatch:
                if not self._may_reload(changes):
                    raise
                self._reload(model, deadline)
        return results.finish()

    def encode_query(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """`encode` with the model's "query" prompt, unless another is given."""
        return self.encode(sentences, self.query_prompt_name(prompt_name, prompt), prompt, **options)

    def encode_document(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """`encode` with the model's "document", "passage" or "corpus" prompt, unless another is given."""
        return self.encode(sentences, self.document_prompt_name(prompt_name, prompt), prompt, **options)

    def encode_stream(
        self, sentences: Iterable[str], *, chunk_size: int = CHUNK_SIZE, **options: Any
    ) -> Iterator[NDArray[Any]]:
        """Embed any number of sentences in constant memory: arrays of up to `chunk_size` rows, in order.

        `sentences` is read no further than two chunks ahead of what was taken. `options` are those of `encode`;
        `timeout_s` bounds each chunk. Closing the stream cancels what is under way.
        """
        size = stream_chunk_size(sentences, chunk_size)
        pinned = self._pinned()
        under_way: deque[Future[Any]] = deque()
        taken = 0

        def take() -> NDArray[Any]:
            nonlocal taken
            with counted_from(taken):
                embeddings: NDArray[Any] = under_way.popleft().result()
            taken += size
            return embeddings

        # Two chunks at once: while the last requests of one are awaited, the next one's are on their way.
        with ThreadPoolExecutor(2, thread_name_prefix="sentriton-stream") as pool:
            try:
                for chunk in chunks(sentences, size):
                    # In the caller's context, which holds the caller's trace.
                    under_way.append(pool.submit(copy_context().run, partial(pinned.encode, chunk, **options)))
                    if len(under_way) == 2:
                        yield take()
                while under_way:
                    yield take()
            except Exception as error:
                self._check_open(error)
                raise
            finally:
                # Its calls end, and with them the pool; the connections are this encoder's too and stay.
                pinned._abandoned = True

    def close(self) -> None:
        """Close the connections. Calls that are still under way fail."""
        self._closed.set()
        for endpoint in self._endpoints.all:
            endpoint.channel.close()

    def __enter__(self) -> SentenceEncoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _reload(self, old: ServedModel, deadline: Deadline) -> None:
        """Take up the model that is served now, unless another thread did."""
        with self._reloading:
            if self._model is old:
                try:
                    self._served = self._read_model(deadline)
                except Exception as error:
                    self._check_open(error)
                    raise

    def _read_model(self, deadline: Deadline) -> ServedModel:
        """Manifest and tokenizer of the first server that answers."""
        inquiry = Inquiry(self._endpoints.all, deadline)
        while turn := inquiry.turn(time.monotonic()):
            endpoint, time_s = turn
            try:
                manifest = endpoint.channel.manifest(time_s)
                deadline.moved(time.monotonic())
                tokenizer = kept_tokenizer(endpoint.address, manifest)
                if tokenizer is None:
                    content = endpoint.channel.asset(TOKENIZER, deadline.left_s(time.monotonic()))
                    tokenizer = read_tokenizer(endpoint.address, manifest, content)
                deadline.moved(time.monotonic())
                return ServedModel(manifest, tokenizer)
            except SentritonError as error:
                inquiry.failed(error, time.monotonic())
        raise inquiry.failure

    def _run(
        self, texts: list[str], model: ServedModel, options: EncodeOptions, results: Results, deadline: Deadline
    ) -> None:
        """Send all requests of a call and collect their answers; cancels what is under way when it ends early."""
        dispatcher = self._dispatcher(self._plan(texts, model, options), len(texts), deadline, self._endpoints)
        outcomes: queue.SimpleQueue[tuple[Sending, Any]] = queue.SimpleQueue()

        def send(sending: Sending) -> None:
            time_s = sending.until - sending.sent
            request = self._request(sending.attempt.rows, model, options, time_s)
            call = sending.endpoint.channel.start_infer(request, time_s)
            sending.endpoint.begin(sending, sending.sent)
            sending.cancel = call.cancel

            def ended(call: Any) -> None:
                sending.endpoint.end(sending)
                outcomes.put((sending, call))

            call.add_done_callback(ended)

        with progress_bar(options.show_progress_bar, len(texts)) as advance:
            try:
                while not dispatcher.done:
                    self._check_open()
                    dispatcher.prepare()
                    if (sending := dispatcher.next(time.monotonic())) is not None:
                        send(sending)
                        continue
                    wait_s = min(_GLANCE_S, dispatcher.wait_s(time.monotonic()))
                    try:
                        sending, call = outcomes.get(timeout=wait_s)
                    except queue.Empty:
                        continue
                    self._settle(dispatcher, sending, partial(sending.endpoint.channel.result_of, call), results)
                    advance(dispatcher.finished)
            except Exception as error:
                self._check_open(error)
                raise
            finally:
                self._window = dispatcher.window
                dispatcher.cancel()
