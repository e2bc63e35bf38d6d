"""Readiness that means something: the golden sentences, embedded by the server, must come back as
sentence-transformers has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from sentriton import protocol
from sentriton.connection import Connection
from sentriton.errors import ServerError
from sentriton.manifest import Manifest
from sentriton.settings import ClientSettings


@dataclass(frozen=True)
class CanaryReport:
    """A canary that passed: the served model and the smallest cosine to its golden vectors."""

    manifest: Manifest
    min_cosine: float


def check_canary(settings: ClientSettings, timeout_s: float = 10.0) -> CanaryReport:
    """Embed the golden sentences through `embed_text` and compare. Raises a `SentritonError` when the server does not
    answer, or when a vector lies further from the golden one than the precision's bound."""
    connection = Connection(settings.addresses[0], settings)
    try:
        manifest = Manifest.from_json(connection.asset("manifest.json", timeout_s))
        golden = json.loads(connection.asset("golden.json", timeout_s))
        request = protocol.text_request(golden["sentences"], protocol.parameters(fingerprint=manifest.fingerprint))
        embeddings = protocol.read_sentence_embedding(connection.infer(request, timeout_s))
    finally:
        connection.close()
    expected = np.array(golden["sentence_embedding"], dtype=np.float32)
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(expected, axis=1)
    min_cosine = float(((embeddings * expected).sum(axis=1) / lengths).min())
    # Above 1 - 1e-6 float32 itself is the noise.
    if not min_cosine >= manifest.min_cosine - 1e-6:
        raise ServerError(
            f"the canary failed at {settings.url}: the smallest cosine to the golden vectors is {min_cosine:.6f}, "
            f"{manifest.precision} must reach {manifest.min_cosine}"
        )
    return CanaryReport(manifest, min_cosine)
