"""The encoders of an adapter for blocking code and event loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sentriton.aio import AsyncSentenceEncoder
from sentriton.client import SentenceEncoder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import Settings


class Encoders:
    """A `SentenceEncoder`, and an `AsyncSentenceEncoder` with the same settings per event loop."""

    def __init__(self, url: str | None = None, **settings: Unpack[Settings]) -> None:
        self._url = url
        self._settings = settings
        self.blocking = SentenceEncoder(url, **settings)
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncSentenceEncoder] = {}

    def of_running_loop(self) -> AsyncSentenceEncoder:
        """The encoder of the running event loop, which connects with its first call."""
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            # asyncio.run makes a loop per call: encoders of closed loops must not pile up.
            for other in list(self._by_loop):
                if other.is_closed():
                    self._by_loop.pop(other, None)
            self._by_loop[loop] = AsyncSentenceEncoder(self._url, **self._settings)
        return self._by_loop[loop]

    def close(self) -> None:
        """Close the blocking encoder. `aclose` closes an event loop's."""
        self.blocking.close()

    async def aclose(self) -> None:
        """Close the running event loop's encoder and the blocking one."""
        encoder = self._by_loop.pop(asyncio.get_running_loop(), None)
        try:
            if encoder is not None:
                await encoder.close()
        finally:
            await asyncio.to_thread(self.close)


class Closes:
    """The closing of an adapter."""

    _encoders: Encoders

    def close(self) -> None:
        """Close the connection."""
        self._encoders.close()

    async def aclose(self) -> None:
        """Close the connections of blocking code and of the running event loop."""
        await self._encoders.aclose()
