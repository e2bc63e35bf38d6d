"""Limits the time of one batch. The encoder shows no progress within a batch, and 8,192 tokens may take a minute."""

from __future__ import annotations

from pathlib import Path

from sentriton_server.repository import read_config

# Bytes of weights times tokens per second: about the rate of two cores without AVX-512.
_SLOWEST_RATE = 5e10
# Parts that make no progress while the encoder computes a batch.
_WAITING_PARTS = {"embed_tokens", "encoder"}


class Patience:
    """Tells an encoder that computes a large batch from a hung one, by the repository's largest batch."""

    def __init__(self, repository: Path) -> None:
        weights = (repository / "encoder/1/model.pt").stat().st_size
        self.batch_s = weights * read_config(repository, "encoder").max_batch_size / _SLOWEST_RATE
        self._worked_at = 0.0

    def note_work(self, now: float) -> None:
        """Record that all parts have made progress at time `now` or later."""
        self._worked_at = now

    def excuses(self, stalled_parts: list[str], now: float) -> bool:
        """Whether the encoder may still be computing the batch that began at the last progress."""
        at_a_batch = "encoder" in stalled_parts and _WAITING_PARTS.issuperset(stalled_parts)
        return at_a_batch and now - self._worked_at < self.batch_s
