"""A caller's request and its rows. Plain code, free of Triton."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

CANARY_LANE = "canary"
CALLERS_LANES = ("query", "bulk")
LANES = (CANARY_LANE, *CALLERS_LANES)  # in the order in which they are served
DEFAULT_LANE = "query"


@dataclass(eq=False)
class Request:
    """A caller's valid packed rows: `input_ids` int32, `pooled` bool and `row` int32, all [tokens].

    `deadline` is a time of `time.monotonic()`. The answer needs `handle`. Several batches may have rows of the request.
    They fill `embeddings` [rows, dimension], or [tokens, hidden] if `of_tokens` is set. The first caller of `end`
    answers the request.
    `known` has the cached embeddings by place, so only the `unknown` rows wait in a lane. `on_end` is called once, when
    the request ends. `arrived` is the time at which its tokens arrived, or on average their text in embed_text.
    """

    input_ids: NDArray[np.int32]
    pooled: NDArray[np.bool_]
    row: NDArray[np.int32]
    deadline: float
    lane: str = DEFAULT_LANE
    of_tokens: bool = False
    handle: Any = None
    on_end: Callable[[], None] = lambda: None
    arrived: float = field(default_factory=time.monotonic)
    known: InitVar[Mapping[int, NDArray[np.float32]]] = MappingProxyType({})
    unknown: list[int] = field(init=False)
    embeddings: NDArray[np.float32] | None = None
    ended: bool = False
    _starts: list[int] = field(init=False)
    _missing: int = field(init=False)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self, known: Mapping[int, NDArray[np.float32]]) -> None:
        self._starts = [0, *np.bincount(self.row).cumsum().tolist()]
        self._missing = self.rows
        self.unknown = [place for place in range(self.rows) if place not in known]
        if known:
            self.fill(list(known), np.stack(list(known.values())))

    @property
    def rows(self) -> int:
        return len(self._starts) - 1

    def tokens_of(self, place: int) -> slice:
        """The slice of a row's tokens."""
        return slice(self._starts[place], self._starts[place + 1])

    def end(self) -> bool:
        """End the request. True for the first call, whose caller must answer the request."""
        with self._changing:
            first, self.ended = not self.ended, True
        if first:
            self.on_end()
        return first

    def fill(self, places: list[int], embeddings: NDArray[np.float32]) -> bool:
        """Store `embeddings` [len(places), dimension], or [tokens of these places, hidden], for these rows. Returns
        whether all rows are complete.
        """
        with self._changing:
            size = len(self.row) if self.of_tokens else self.rows
            if self.embeddings is None:
                self.embeddings = np.empty((size, embeddings.shape[1]), np.float32)
            if self.of_tokens:
                self.embeddings[np.concatenate([np.r_[self.tokens_of(place)] for place in places])] = embeddings
            else:
                self.embeddings[places] = embeddings
            self._missing -= len(places)
            return self._missing == 0


@dataclass(frozen=True)
class Row:
    """A row of a request, with `length` tokens. `order` grows with the time of arrival."""

    request: Request
    place: int
    length: int
    order: int
