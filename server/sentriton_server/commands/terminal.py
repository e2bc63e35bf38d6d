"""How the commands talk to the terminal that they were started from, and listen to its signals."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType

from rich.console import Console

_console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(message: str) -> None:
    """Report progress on standard error."""
    show(message, style="dim")


def show(text: str, style: str | None = None) -> None:
    """Print on standard error."""
    # A terminal that was closed, or a pipe whose reader has gone, ends no server: rich would exit.
    with contextlib.suppress(OSError, ValueError, SystemExit):
        _console.print(text, style=style)


def catch_signals() -> threading.Event:
    """SIGINT, SIGTERM, SIGHUP and SIGQUIT become a `KeyboardInterrupt`, once. Further signals must not cut the shutdown
    short. A signal that is ignored when the command starts (by nohup, say) stays ignored.

    The returned event is set as well, and the waiting code checks it. C libraries swallow an exception that a signal
    raises inside their callbacks.
    """
    interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    return interrupted
