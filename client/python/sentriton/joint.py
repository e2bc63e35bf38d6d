"""A joined request: its members, their deadline and their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from sentriton import protocol
from sentriton.course import Course, Sending
from sentriton.deadline import Deadline
from sentriton.endpoints import AnyConnection
from sentriton.errors import DeadlineExceeded, SentritonError, ServerError
from sentriton.kserve import ModelInferRequest, ModelInferResponse
from sentriton.requests import TOKENS_PER_REQUEST, no_token
from sentriton.served_model import ServedModel
from sentriton.tokenization import PackedRows, pack_rows

_TIMES_APART = 2.0  # largest factor between remaining times


@dataclass(eq=False)
class Member(Generic[AnyConnection]):
    """A small call: its sentences, their texts with the prompt, and its outcome. `wake` wakes its caller.

    `alone`: it may have caused the failure of a joined request. `too_long`: it needs several requests.
    """

    model: ServedModel
    sentences: Sequence[str]
    texts: Sequence[str]
    not_pooled: int
    max_rows: int
    deadline: Deadline
    wake: Callable[[], object]
    alone: bool = False
    tokens: list[list[int]] | None = None
    joint: Joint[AnyConnection] | None = None
    embeddings: NDArray[np.float32] | None = None
    error: SentritonError | None = None
    too_long: bool = False

    @property
    def ended(self) -> bool:
        return self.embeddings is not None or self.error is not None or self.too_long

    @property
    def length(self) -> int:
        return sum(map(len, self.texts))

    @property
    def size(self) -> int:
        return sum(map(len, self.tokens or ()))

    def joins(self, first: Member[AnyConnection], now: float) -> bool:
        if self.alone or self.model is not first.model or self.max_rows != first.max_rows:
            return False
        own, other = self.deadline.time - now, first.deadline.time - now
        return 0 < own <= _TIMES_APART * other and other <= _TIMES_APART * own

    def check_tokens(self) -> None:
        """Set an error for a sentence without a token, and `too_long`."""
        assert self.tokens is not None
        for place, row in enumerate(self.tokens):
            if not row:
                self.error = no_token(place, self.sentences[place])
        self.too_long = len(self.tokens) > 1 and self.size > TOKENS_PER_REQUEST

    def take(self, embeddings: NDArray[np.float32], address: str) -> None:
        """Store this call's rows of an answer, float32 [rows, dimension], or a `ServerError` if they are not finite."""
        try:
            protocol.check_finite(embeddings, protocol.SENTENCE_EMBEDDING)
            self.embeddings = embeddings
        except ServerError as error:
            self.error = wrong_answer(error, address)


class SharedDeadline(Deadline):
    """The deadline of a request: its members' latest."""

    def __init__(self, members: Sequence[Member[Any]]) -> None:
        self._members = members

    @property
    def end(self) -> float:
        return max((member.deadline.end for member in self._members), default=0.0)

    @property
    def time(self) -> float:
        return max((member.deadline.time for member in self._members), default=0.0)

    def moved(self, now: float) -> None:
        for member in self._members:
            member.deadline.moved(now)

    def looked(self, now: float) -> None:
        """Does nothing, since each member's caller does."""

    def exceeded(self, url: str) -> DeadlineExceeded:
        return max(self._members, key=lambda member: member.deadline.time).deadline.exceeded(url)


@dataclass(frozen=True)
class Load(Generic[AnyConnection]):
    """The members of a request when it was sent, and their rows in this order."""

    members: Sequence[Member[AnyConnection]]
    tokens: PackedRows

    @classmethod
    def of(cls, members: Sequence[Member[AnyConnection]]) -> Load[AnyConnection]:
        rows = [row for member in members for row in member.tokens or ()]
        not_pooled = [member.not_pooled for member in members for _ in member.texts]
        return cls(members, pack_rows(rows, not_pooled=not_pooled if any(not_pooled) else 0))

    def read(self, response: ModelInferResponse) -> NDArray[np.float32]:
        """The answer, float32 [rows, dimension]. Raises `ServerError` for another form, but checks no numbers."""
        rows = sum(len(member.texts) for member in self.members)
        dimension = self.members[0].model.manifest.dimension
        return protocol.read_sentence_embedding(response, rows, dimension, finite=False)

    def deliver(self, embeddings: NDArray[np.float32], address: str) -> None:
        start = 0
        for member in self.members:
            end = start + len(member.texts)
            if member.joint is not None:
                member.take(embeddings[start:end], address)
            start = end


@dataclass(eq=False)
class Joint(Generic[AnyConnection]):
    """A request and its members. The first handles retries. `in_flight`: it counts as one of the encoder's requests."""

    members: list[Member[AnyConnection]]
    course: Course[AnyConnection] | None = None
    in_flight: bool = True
    loads: dict[Sending[AnyConnection], Load[AnyConnection]] = field(default_factory=dict)

    def tokenize(self) -> None:
        members = [member for member in list(self.members) if member.tokens is None]
        if not members:
            return
        tokens = iter(members[0].model.tokenizer.tokenize([text for member in members for text in member.texts]))
        for member in members:
            member.tokens = [next(tokens) for _ in member.texts]

    def request(self, sending: Sending[AnyConnection], priority: str) -> tuple[ModelInferRequest, float]:
        load, time_s = self.loads[sending], sending.until - sending.sent
        fingerprint = load.members[0].model.manifest.fingerprint
        parameters = protocol.parameters(fingerprint=fingerprint, priority=priority, timeout_s=time_s)
        return protocol.tokens_request(load.tokens, parameters), time_s

    def awaits(self, sending: Sending[AnyConnection]) -> bool:
        return self.course is not None and self.course.awaits(sending)


def wrong_answer(error: ServerError, address: str) -> ServerError:
    wrong = ServerError(f"wrong answer from {address}: {error}")
    wrong.__cause__ = error
    return wrong
