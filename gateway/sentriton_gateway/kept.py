"""The server's recent answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sentriton.errors import SentritonError, own_error

_AGE_S = 1.0  # an answer counts this long: who asks often must not become load
_Answer = TypeVar("_Answer")


class Kept(Generic[_Answer]):
    """An answer of the server, which `ask` awaits: asked for once at a time, and kept for a second. So is an error."""

    def __init__(self, ask: Callable[[], Awaitable[_Answer]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._last: _Answer | SentritonError

    async def get(self) -> _Answer:
        """Raises the `SentritonError` of a question that failed."""
        async with self._asking:
            if time.monotonic() - self._asked >= _AGE_S:
                try:
                    self._last = await self._ask()
                except SentritonError as error:
                    self._last = error
                self._asked = time.monotonic()
        if isinstance(self._last, SentritonError):
            raise own_error(self._last)
        return self._last
