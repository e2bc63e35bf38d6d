"""One call of `encode`, without I/O: its sentences, requests, answers and result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic

from sentriton import protocol
from sentriton.allowed import check_names
from sentriton.arguments import as_texts
from sentriton.course import Course, Sending
from sentriton.endpoints import AnyConnection
from sentriton.errors import ContractMismatch, SentritonError, ServerError, own_error, progress_words
from sentriton.joining import LONG, SMALL, Joiner
from sentriton.joint import Member, wrong_answer
from sentriton.keywords import AnyArguments, Encoded, Sentences
from sentriton.kserve import ModelInferRequest, ModelInferResponse
from sentriton.options import resolve_options, resolve_prompt
from sentriton.progress import progress_bar
from sentriton.requests import RequestRows, plan_requests
from sentriton.results import Results
from sentriton.served_model import ServedModel
from sentriton.session import Session

_MODEL_CHANGES_A_CALL = 3  # servers that keep different models are no roll-out


@dataclass(frozen=True)
class Pin:
    """The calls of one stream. They use one model, and end with the stream."""

    model: ServedModel
    left: threading.Event = field(default_factory=threading.Event)


class Call(Generic[AnyConnection]):
    """One call. The encoder calls `begin`, a dispatcher sends the requests of its `course`, then comes `finish`."""

    course: Course[AnyConnection]

    def __init__(
        self,
        session: Session[AnyConnection],
        sentences: Sentences | None,
        prompt_name: str | None,
        prompt: str | None,
        arguments: AnyArguments,
        *,
        preferred_prompts: Sequence[str] = (),
        pin: Pin | None = None,
    ) -> None:
        """Read the sentences. Raises `InvalidInput` unless they are ordered strings, `DeadlineExceeded` if reading
        exceeds `timeout_s`, and `TypeError` for an unknown option.
        """
        check_names("encode", arguments, AnyArguments.__annotations__)
        self._session = session
        self._prompts = (prompt_name, prompt, preferred_prompts)
        self._arguments = arguments
        self._pin = pin
        self._changes = 0
        self.deadline = session.deadline(arguments.get("timeout_s"))
        self.texts, self._single = as_texts(sentences, arguments.get("inputs"), self._check_reading)
        # Reading does not count as a stall.
        self.deadline.moved(time.monotonic())

    def begin(self) -> None:
        """Resolve the options for the served model. Raises `InvalidInput` for those that it does not support."""
        self._session.check_usable()
        self._session.check_interpreter()
        self._model = self._session.model if self._pin is None else self._pin.model
        manifest = self._model.manifest
        self._options = resolve_options(self._arguments, resolve_prompt(manifest, *self._prompts), manifest)
        self._results = Results(len(self.texts), self._options)

    @property
    def is_long(self) -> bool:
        return sum(map(len, self.texts)) > LONG

    @property
    def is_small(self) -> bool:
        options = self._options
        return (
            0 < len(self.texts) <= min(SMALL, options.max_rows - 1)
            and options.output_value == "sentence_embedding"
            and self._pin is None
            and not options.show_progress_bar
            and not self.is_long
        )

    def member(self, wake: Callable[[], object]) -> Member[AnyConnection]:
        prompt = self._options.prompt
        return Member(
            self._model,
            sentences=self.texts,
            texts=[prompt + text for text in self.texts] if prompt else self.texts,
            not_pooled=self._not_pooled(),
            max_rows=self._options.max_rows,
            deadline=self.deadline,
            wake=wake,
        )

    def take(self, member: Member[AnyConnection]) -> bool:
        """Take its vectors. False if it needs separate requests. Raises its error."""
        if member.error is not None:
            raise own_error(member.error, progress_words(0, len(self.texts)))
        if member.embeddings is not None:
            self._results.put(member.embeddings)
        return not member.too_long

    def open_course(self) -> None:
        self.course = Course(
            self._plan(),
            total=len(self.texts),
            deadline=self.deadline,
            window=self._session.window.anew(),
            budget=self._session.budget,
            endpoints=self._session.open_endpoints,
        )

    @property
    def joiner(self) -> Joiner[AnyConnection]:
        return self._session.joiner

    @property
    def priority(self) -> str:
        return self._session.settings.priority

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Shows the progress, and cancels requests if the call ends early."""
        with progress_bar(self._options.show_progress_bar, len(self.texts)) as self._advance:
            try:
                yield
            except Exception as error:
                self.check_open(error)
                raise
            finally:
                self._session.window = self.course.window
                self.course.cancel()

    def request(self, sending: Sending[AnyConnection]) -> tuple[ModelInferRequest, float]:
        time_s = sending.until - sending.sent
        parameters = protocol.parameters(
            fingerprint=self._model.manifest.fingerprint, priority=self.priority, timeout_s=time_s
        )
        return protocol.tokens_request(sending.attempt.rows.tokens, parameters, self._options.output_value), time_s

    def settle(self, sending: Sending[AnyConnection], result: Callable[[], ModelInferResponse]) -> None:
        """Record a request's outcome. `result` returns the response or raises."""
        if not self.course.awaits(sending):
            return
        now = time.monotonic()
        try:
            response = result()
            try:
                self._results.collect(sending.attempt.rows, response)
            except ServerError as error:
                raise wrong_answer(error, sending.endpoint.address) from error
        except SentritonError as error:
            self.course.failed(sending, error, now)
        else:
            self.course.answered(sending, now)
            self._advance(self.course.finished)

    def changed(self, error: ContractMismatch) -> ServedModel:
        """The model that the server no longer has, to restart the call. Raises `error` if it must not restart."""
        self._changes += 1
        may_reload = self._pin is None and self._session.settings.on_model_change == "reload"
        if not may_reload or self._changes > _MODEL_CHANGES_A_CALL:
            raise error
        return self._model

    def finish(self) -> Encoded:
        embeddings = self._results.finish()
        return embeddings[0] if self._single else embeddings

    def check_open(self, cause: Exception | None = None) -> None:
        """Raises if the encoder or the stream of this call was closed."""
        self._session.check_open(cause)
        if self._pin is not None and self._pin.left.is_set():
            raise SentritonError("the stream was closed") from cause

    def _check_reading(self) -> None:
        if time.monotonic() >= self.deadline.end:
            raise self.deadline.exceeded(self._session.settings.url)

    def _plan(self) -> Iterator[RequestRows]:
        return plan_requests(
            self.texts,
            self._model.tokenizer,
            max_rows=self._options.max_rows,
            prompt=self._options.prompt,
            not_pooled=self._not_pooled(),
        )

    def _not_pooled(self) -> int:
        """The leading tokens of each row that are left out of pooling."""
        prompt = self._options.prompt
        if not prompt or self._model.manifest.include_prompt:
            return 0
        return self._model.tokenizer.prompt_length(prompt)
