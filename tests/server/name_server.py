"""A DNS server on loopback with one name, for gRPC's `dns://host:port/name`."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence

_TYPE_A, _CLASS_IN = 1, 1
_ANSWER = 0x8580  # an authoritative response to a query with recursion desired


class NameServer:
    """A context manager that answers every query for IPv4 addresses with `addresses`, which may change."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.queries = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            self.queries += 1
            self._socket.sendto(answer(query, self.addresses), client)


def answer(query: bytes, addresses: Sequence[str]) -> bytes:
    """The response to a query with one question (RFC 1035, section 4)."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    (kind,) = struct.unpack("!H", question[-4:-2])
    found = addresses if kind == _TYPE_A else []
    # 0xC00C: the name is in the question. The answer's time to live is 0.
    records = [struct.pack("!HHHIH", 0xC00C, _TYPE_A, _CLASS_IN, 0, 4) + socket.inet_aton(address) for address in found]
    header = query[:2] + struct.pack("!HHHHH", _ANSWER, 1, len(records), 0, 0)
    return header + question + b"".join(records)
