"""Warms up a new server with rows of many lengths, so that no caller's row is the first of its length.

oneDNN generates a kernel for each new number of tokens. The first long row enlarges the shared memory and touches new
memory. Without the warm-up, such a call to a small model took up to 2.3 times as long (docs/decisions/warm-up.md).
"""

from __future__ import annotations

import time

from sentriton.connection import Connection
from sentriton.manifest import Manifest
from sentriton.protocol import parameters, tokens_request
from sentriton.settings import ClientSettings
from sentriton.tokenization import pack_rows

# The encoder fills its token blocks up to a multiple of this, so these lengths generate all kernels of the projections.
# Attention pads rows of at most MAX_BMM_TOKENS to such a multiple as well.
# These repeat constants of encoder/packed.py and encoder/attention.py, whose import needs torch.
BLOCK_MULTIPLE_TOKENS = 8
MAX_BMM_TOKENS = 128
# A large model does not reach all lengths. For such a model the saved time is a small part of a call.
_MAX_WARM_UP_S = 2.0


def warm_up(settings: ClientSettings, manifest: Manifest, timeout_s: float, canary_key: str) -> None:
    """Embed rows of many lengths in the canary's lane, shortest first, for at most two seconds. Raises the
    `SentritonError`s of a call.
    """
    named = parameters(fingerprint=manifest.fingerprint, timeout_s=timeout_s, canary_key=canary_key)
    connection = Connection(settings.addresses[0], settings)
    try:
        end = time.monotonic() + _MAX_WARM_UP_S
        for length in _lengths(manifest):
            if time.monotonic() > end:
                break
            connection.infer(tokens_request(pack_rows([[1] * length]), named), timeout_s)
    finally:
        connection.close()


def _lengths(manifest: Manifest) -> list[int]:
    longest = manifest.max_seq_length
    lengths = [*range(BLOCK_MULTIPLE_TOKENS, longest, BLOCK_MULTIPLE_TOKENS), longest]
    if manifest.precision == "bf16" and manifest.device == "cpu":
        # Attention to longer rows needs a kernel for each length. On a GPU it pads all rows alike.
        lengths += [length for length in range(MAX_BMM_TOKENS, longest) if length % BLOCK_MULTIPLE_TOKENS]
    return lengths
