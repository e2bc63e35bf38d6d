"""Runs a benchmark with the variables that Triton gets, so that a module in its process computes as in the server."""

from __future__ import annotations

import os
import sys

from sentriton_server.serving.profile import read_profile


def as_in_server(device: str = "cpu") -> None:
    """Start this program again with the variables of the server's profile. Those that are set take precedence.

    The libraries for threads and memory read them only when a process starts.
    """
    variables = read_profile(device).environment
    if any(name not in os.environ for name in variables):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables | os.environ)
