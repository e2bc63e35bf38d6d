"""Sends rows of many lengths to a server that has just started, so that no caller's row is the first of its length.

The encoder's kernels are made for each number of tokens when it first occurs. Shared memory grows with the first long
row, and memory is touched for the first time. Without this, such a call to a small model takes half as much time again.
"""

from __future__ import annotations

import time

from sentriton.connection import Connection
from sentriton.manifest import Manifest
from sentriton.protocol import parameters, tokens_request
from sentriton.settings import ClientSettings
from sentriton.tokenization import pack_rows

# The encoder fills its token blocks up to a multiple of this, so these lengths make the kernels of all its projections.
# It is encoder/packed.py's, whose import needs torch.
BLOCK_MULTIPLE_TOKENS = 8
# A large model does not get through all lengths. The time saved is a small part of a call of such a model.
_MAX_WARM_UP_S = 2.0


def warm_up(settings: ClientSettings, manifest: Manifest, timeout_s: float, canary_key: str) -> None:
    """Embed rows of many lengths in the canary's lane, short ones first, until all are done or two seconds are over.
    Raises the `SentritonError`s of a call.
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
    if manifest.precision == "bf16":  # which has kernels of its own inside attention for each length between
        lengths += [length for length in range(1, longest) if length % BLOCK_MULTIPLE_TOKENS]
    return lengths
