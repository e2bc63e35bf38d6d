"""How many tokens a batch takes: those that this processor computes in a certain time. Plain code, free of Triton."""

from __future__ import annotations

# A query waits behind at most a batch or two of bulk work, and a batch costs a few milliseconds beside its tokens: the
# hand-over to the encoder and to pooling, and a last token block that is not full.
_BATCH_S = 0.3
_DECAY = 0.9  # of what is known with each batch, so that about ten batches count


class BatchSize:
    """The most tokens of a batch, from `least` to `most`, by the rate at which batches came back: `computed_at_once` of
    them share it. Until the first came back it is `least`. The scheduler calls all methods under its lock.
    """

    def __init__(self, least: int, most: int, computed_at_once: int) -> None:
        self._least, self._most = least, most
        self._computed_at_once = computed_at_once
        self._in_flight = 0
        self._since = 0.0
        self._seconds = 0.0
        self._tokens = 0.0

    @property
    def tokens(self) -> int:
        if not self._seconds:
            return self._least
        rate = self._tokens / self._seconds
        return int(min(self._most, max(self._least, _BATCH_S * rate / self._computed_at_once)))

    def taken(self, now: float) -> None:
        """A batch left at time `now`."""
        if not self._in_flight:
            self._since = now
        self._in_flight += 1

    def came_back(self, tokens: int, now: float) -> None:
        """A batch of `tokens` came back at time `now`, computed or not (0 tokens)."""
        self._in_flight -= 1
        if tokens:
            self._seconds = _DECAY * self._seconds + now - self._since
            self._tokens = _DECAY * self._tokens + tokens
            self._since = now
