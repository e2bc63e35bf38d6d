"""A lane: its waiting rows, ordered by length, and their rate. Plain code, free of Triton."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from .request import Request, Row

_BUCKET_TOKENS = 8  # lengths in a bucket differ by less than this
# Largest fraction of padding, if rows are padded to the longest of the batch. Only attention on an older GPU pads so.
# Torch on a CPU pads each row by its own length. There the limit keeps rows of similar length together.
_MAX_PADDING_FRACTION = 0.2
_PACE_DECAY = 0.9  # weight of the old pace at each batch, so that about ten batches count


class Pace:
    """The rate at which a lane's tokens leave, from the times between batches while rows were waiting."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._tokens = 0.0
        self._last: float | None = None

    def taken(self, tokens: int, now: float, *, more: bool) -> None:
        """A batch of `tokens` left at time `now`. `more`: whether rows are still waiting."""
        if self._last is not None:
            self._seconds = _PACE_DECAY * self._seconds + now - self._last
            self._tokens = _PACE_DECAY * self._tokens + tokens
        self._last = now if more else None

    def wait_s(self, tokens: int) -> float:
        """The time until this number of tokens has left, or 0 if the pace is unknown."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0


class Lane:
    """The waiting rows by length. A batch has the longest-waiting row and rows of similar length for the same output,
    sentence embeddings or token embeddings.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.tokens = 0
        self._pace = Pace()
        self._buckets: dict[tuple[bool, int], deque[Row]] = {}

    def wait_s(self) -> float:
        """The time until all waiting rows have left."""
        return self._pace.wait_s(self.tokens)

    def compute_s(self, rows: list[Row]) -> float:
        """The computing time of these rows."""
        return self._pace.wait_s(sum(row.length for row in rows))

    def add(self, request: Request, order: int) -> None:
        for place in request.unknown:
            tokens = request.tokens_of(place)
            row = Row(request, place, tokens.stop - tokens.start, order)
            self._buckets.setdefault(_bucket(row), deque()).append(row)
            self.tokens += row.length
        self.rows += len(request.unknown)

    def take(self, most_tokens: int, most_rows: int, alike: bool = True) -> list[Row]:
        """Remove and return rows with at most `most_tokens` in all. A single row may have more. `alike`: only rows of
        similar length, counted as if padded to the longest.
        """
        anchor = min(self._buckets, key=lambda bucket: self._buckets[bucket][0].order)
        rows: list[Row] = []
        longest, tokens = 0, 0
        for row in self._nearest(anchor):
            longest, tokens = max(longest, row.length), tokens + row.length
            padded = longest * (len(rows) + 1) if alike else tokens
            too_large = padded > most_tokens or len(rows) == most_rows
            if rows and (too_large or padded - tokens > _MAX_PADDING_FRACTION * padded):
                break
            rows.append(row)
        self._remove(rows)
        return rows

    def _nearest(self, anchor: tuple[bool, int]) -> Iterator[Row]:
        of_tokens, length = anchor
        same = (bucket for bucket in self._buckets if bucket[0] == of_tokens)
        for bucket in sorted(same, key=lambda bucket: (abs(bucket[1] - length), -bucket[1])):
            yield from self._buckets[bucket]

    def _remove(self, rows: list[Row]) -> None:
        # Rows were taken from the front of their buckets.
        for row in rows:
            bucket = _bucket(row)
            self._buckets[bucket].popleft()
            if not self._buckets[bucket]:
                del self._buckets[bucket]
        self.rows -= len(rows)
        tokens = sum(row.length for row in rows)
        self.tokens -= tokens
        self._pace.taken(tokens, time.monotonic(), more=self.rows > 0)


def _bucket(row: Row) -> tuple[bool, int]:
    return row.request.of_tokens, -(-row.length // _BUCKET_TOKENS)
