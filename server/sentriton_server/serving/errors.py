"""Why a server did not start."""

from __future__ import annotations

from sentriton.errors import SentritonError


class LaunchError(SentritonError):
    """The server cannot be started, or did not become ready."""


class Crashed(LaunchError):
    """Triton, or one of its Python stubs, ended while it started: the next start may succeed."""
