"""Output and signals of the commands' terminal."""

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
    # A closed terminal or pipe must not end a server, but rich would exit.
    with contextlib.suppress(OSError, ValueError, SystemExit):
        _console.print(text, style=style)


def catch_signals() -> threading.Event:
    """Raise `KeyboardInterrupt` at the first SIGINT, SIGTERM, SIGHUP or SIGQUIT. Further signals do not interrupt the
    shutdown. Signals that are ignored at the start (for example by nohup) stay ignored.

    The signal also sets the returned event, which waiting code checks, because C libraries swallow exceptions inside
    their callbacks.
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
