"""Caches answers of the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sentriton.errors import SentritonError, own_error

_AGE_S = 1.0  # lifetime of an answer, so that frequent callers cause no load
_Answer = TypeVar("_Answer")


class Kept(Generic[_Answer]):
    """An answer or error of `ask`, which runs once at a time. It is cached for a second."""

    def __init__(self, ask: Callable[[], Awaitable[_Answer]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._last: _Answer | SentritonError

    async def get(self) -> _Answer:
        """The answer. Raises the cached `SentritonError`."""
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
