"""Parses large bodies in a separate process, because Python's JSON parser blocks all threads of its process. It needs
seconds and 700 MB for 16 MiB of small lists.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from sentriton_gateway.answers import Refused
from sentriton_gateway.callers import while_connected
from sentriton_gateway.messages import EmbeddingsRequest

LARGE_BYTES = 1 << 20


class Reader:
    """Parses one body at a time, to bound the memory."""

    def __init__(self, most_inputs: int) -> None:
        self._most_inputs = most_inputs
        self._turn = asyncio.Semaphore()

    async def read(self, body: bytes) -> EmbeddingsRequest:
        """Parse a body. Raises `Refused` for an invalid one."""
        command = [sys.executable, "-m", "sentriton_gateway.reading", str(self._most_inputs)]
        async with self._turn:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # This process's packages, without modules of the current folder.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    cwd="/",
                    start_new_session=True,  # Ctrl-C is only for the gateway
                )
            except OSError as error:  # too many processes or open files, or too little memory
                message = f"the gateway cannot start a process for a large body ({error.strerror}); send it later"
                raise Refused(429, message, "rate_limit_exceeded") from error
            try:
                output, _ = await process.communicate(body)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
        if process.returncode != 0:
            message = f"the body of {len(body)} bytes cannot be read with this memory; send fewer inputs at a time"
            raise Refused(413, message, "body_too_large")
        read: EmbeddingsRequest | tuple[str, str, str | None] = pickle.loads(output)  # of the gateway's own program
        if isinstance(read, tuple):
            raise Refused(400, *read)
        return read


def reading_route(reader: Reader) -> type[APIRoute]:
    """A class of routes whose large bodies a reader parses."""

    class ReadRequest(Request):
        async def json(self) -> Any:
            body = await self.body()
            if len(body) <= LARGE_BYTES:
                return await super().json()
            return await while_connected(self, reader.read(body))  # since it may have to wait

    class ReadingRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_read(request: Request) -> Response:
                return await handle(ReadRequest(request.scope, request.receive))

            return handle_read

    return ReadingRoute
