"""Sentence embeddings over gRPC: the client of a Sentriton server.

>>> from sentriton import SentenceEncoder
>>> with SentenceEncoder("localhost:8001") as encoder:
...     embeddings = encoder.encode(["A first sentence.", "And a second one."])

The names that docs/python-client.md lists are the public interface. All others are internal: they may change in any
release.
"""

# ruff: noqa: E402
import os

__version__ = "0.2.0"

# gRPC's core reads it at import. The log is off unless set, since the errors have its messages.
_ASKED = os.environ.get("GRPC_VERBOSITY")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from sentriton.aio import AsyncSentenceEncoder
from sentriton.client import SentenceEncoder
from sentriton.errors import (
    AccessDenied,
    ContractMismatch,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SentritonError,
    ServerError,
    ServerUnavailable,
)
from sentriton.golden import HealthReport
from sentriton.manifest import Manifest
from sentriton.settings import ClientSettings

if _ASKED is None:  # for child processes
    del os.environ["GRPC_VERBOSITY"]

__all__ = [
    "AccessDenied",
    "AsyncSentenceEncoder",
    "ClientSettings",
    "ContractMismatch",
    "DeadlineExceeded",
    "HealthReport",
    "InvalidInput",
    "Manifest",
    "Overloaded",
    "SentenceEncoder",
    "SentritonError",
    "ServerError",
    "ServerUnavailable",
    "__version__",
]
