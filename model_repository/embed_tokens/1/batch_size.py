"""Adapts the tokens of a batch to the processor's rate, in whole token blocks. Plain code, free of Triton."""

from __future__ import annotations

# Each batch has a fixed cost of some milliseconds, for the transfer to the encoder and to pooling. A query may have to
# wait for one or two batches of bulk work.
_BATCH_S = 0.3
_DECAY = 0.9  # weight of the old average at each batch, so that about ten batches count


class BatchSize:
    """The largest number of tokens of a batch, from about `least` to `most`, by the rate of the finished batches. Until
    the first batch is finished it is `least`. It is a multiple of `block`, since a nearly empty last block takes almost
    as long as a full one. The scheduler calls all methods under its lock.
    """

    def __init__(self, least: int, most: int, block: int) -> None:
        self._least, self._most, self._block = least, most, block
        self._in_flight = 0
        self._since = 0.0
        self._seconds = 0.0
        self._tokens = 0.0

    @property
    def tokens(self) -> int:
        computed = _BATCH_S * self._tokens / self._seconds if self._seconds else 0.0
        blocks = round(max(self._least, computed) / self._block)
        return max(1, min(blocks, self._most // self._block)) * self._block

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


def batches_in_flight(of_one: int, gpus: int) -> int:
    """The largest number of batches in flight: `of_one` for one device, one of them waiting for the device. `gpus`: the
    number of GPUs, 0 on CPUs.
    """
    return max(1, gpus) * (of_one - 1) + 1
