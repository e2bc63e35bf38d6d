"""The asyncio client with plain methods, so that one test body runs on it and on the blocking one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

from sentriton import AsyncSentenceEncoder


class InEventLoop:
    """An `AsyncSentenceEncoder` with the methods of `SentenceEncoder`, in an event loop of its own.

    `asyncio.Runner` would do the same, but needs Python 3.11.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        encoder = AsyncSentenceEncoder(url, **settings)
        loop = asyncio.new_event_loop()
        self.__dict__.update(_loop=loop, _encoder=encoder)
        try:
            loop.run_until_complete(self._encoder.connect())
        except BaseException:
            loop.close()
            raise

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._encoder, name)
        if not inspect.ismethod(attribute):
            return attribute

        def method(*arguments: Any, **options: Any) -> Any:
            result = attribute(*arguments, **options)
            if inspect.isasyncgen(result):
                return self._iterate(result)
            return self._loop.run_until_complete(result) if inspect.iscoroutine(result) else result

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._encoder, name, value)

    def _iterate(self, results: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(results.__anext__())
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(results.aclose())

    def close(self) -> None:
        self._loop.run_until_complete(self._encoder.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
