"""The bound of the gateway for slow callers needs no more of uvicorn's protocol than asyncio's own calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sentriton_gateway import callers

PATIENCE_S = 0.2


class OtherProtocol(asyncio.Protocol):
    """A protocol of another uvicorn: each line is a request, which takes longer than a head may."""

    def __init__(self, **given: Any) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\n"):
            answer: Any = callers.counting(self._answer)
            self._tasks.append(asyncio.get_running_loop().create_task(answer({"type": "http"}, None, None)))

    async def _answer(self, scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(3 * PATIENCE_S)
        self._transport.write(b"answer")


@pytest.mark.parametrize(("sent", "received"), [(b"", b""), (b"half", b""), (b"whole\n", b"answer")])
def test_a_connection_is_closed_only_between_requests(
    sent: bytes, received: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "H11Protocol", OtherProtocol)

    async def call() -> bytes:
        server = await asyncio.get_running_loop().create_server(callers.patient_protocol(PATIENCE_S), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            try:
                return await asyncio.wait_for(reader.read(), 20)
            finally:
                writer.close()

    assert asyncio.run(call()) == received


def test_a_uvicorn_that_hides_the_connection_is_named() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        """Never called."""

    other: Any = callers.counting(app)
    with pytest.raises(RuntimeError, match=r"^uvicorn [\d.]+ runs a request outside the context of its connection"):
        asyncio.run(other({"type": "http"}, None, None))
