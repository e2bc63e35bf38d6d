"""The errors of a start."""

from __future__ import annotations

from sentriton.errors import SentritonError


class LaunchError(SentritonError):
    """The server cannot be started, or did not become ready."""


class Crashed(LaunchError):
    """Triton or one of its Python stubs ended during the start. The next start may succeed."""
