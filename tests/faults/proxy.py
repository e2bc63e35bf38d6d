"""A TCP proxy that disturbs connections as networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time


class FaultyProxy:
    """Forwards loopback connections to `target` (host:port). A context manager; `url` is where to connect."""

    def __init__(self, target: str) -> None:
        self._target = _address(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._flows = threading.Event()
        self._flows.set()
        self._answers_flow = threading.Event()
        self._answers_flow.set()
        self._closed = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0

    def __enter__(self) -> FaultyProxy:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        self._flows.set()
        self._answers_flow.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join()

    def reset(self) -> None:
        """Break off every connection with a RST."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RD)
            each.close()

    def stall(self, seconds: float) -> None:
        """Let nothing through for a while; connections stay open."""
        self._flows.clear()
        time.sleep(seconds)
        self._flows.set()

    def hold_answers(self) -> None:
        """Take nothing from the server any more, as a caller that does not read."""
        self._answers_flow.clear()

    def let_answers_through(self) -> None:
        """Take from the server again."""
        self._answers_flow.set()

    def lead_to(self, target: str) -> None:
        """Break off every connection; new ones go to another server, as behind a roll-out's service."""
        self._target = _address(target)
        self.reset()

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                caller.close()
                continue
            self.connections += 1
            with self._lock:
                self._sockets += [caller, server]
            self._spawn(self._forward, caller, server, self._flows)
            self._spawn(self._forward, server, caller, self._answers_flow)

    def _forward(self, source: socket.socket, target: socket.socket, flows: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                self._flows.wait()
                flows.wait()
                target.sendall(content)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _address(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host, int(port)
