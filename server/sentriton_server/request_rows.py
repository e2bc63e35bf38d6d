"""The most rows of a request: those that a server accepts, and those that its manifest announces."""

from __future__ import annotations

# The same on every device: during a roll-out a client may have the manifest of another server of the model.
_ACCEPTED = 256
_ANNOUNCED_BY_CPUS = 64
_MAX_TOKENS = (1 << 20) - 1  # the largest batch dimension (encoder/config.pbtxt)


def accepted_rows(max_seq_length: int) -> int:
    """The most rows that embed_tokens and embed_text accept. Only the model determines it, not the device."""
    return max(1, min(_ACCEPTED, _MAX_TOKENS // max_seq_length))


def announced_rows(max_seq_length: int, device: str) -> int:
    """`max_batch_size` of the manifest, the size of the clients' requests. `device` is cpu or gpu."""
    accepted = accepted_rows(max_seq_length)
    return accepted if device == "gpu" else min(_ANNOUNCED_BY_CPUS, accepted)
