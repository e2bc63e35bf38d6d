"""`python -m sentriton_gateway.health`: asks the gateway of this container for its health, as the image's health check.

It reads the gateway's variables, not its flags. The exit code is 0 if `/health` has the status 200, else 1.
"""

from __future__ import annotations

import ssl
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from sentriton.declaration import resolve
from sentriton_gateway.settings import GatewaySettings

_ALL_ADDRESSES = ("0.0.0.0", "::")
_TIMEOUT_S = 10.0  # longer than the gateway waits for its server


def request_health(settings: GatewaySettings) -> tuple[bool, str]:
    """Whether the gateway on this machine's port is healthy, and its answer or the error."""
    try:
        with closing(_connection(settings)) as connection:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status == 200, answer.read().decode()
    except (OSError, HTTPException) as error:
        return False, f"no answer from the gateway: {error}"


def _connection(settings: GatewaySettings) -> HTTPConnection:
    host = "localhost" if settings.gateway_host in _ALL_ADDRESSES else settings.gateway_host
    if settings.gateway_tls_certificate is None:
        return HTTPConnection(host, settings.gateway_port, timeout=_TIMEOUT_S)
    # The certificate has the name for callers, and this connection does not leave the container.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, settings.gateway_port, timeout=_TIMEOUT_S, context=context)


if __name__ == "__main__":
    healthy, text = request_health(resolve(GatewaySettings))
    print(text)
    sys.exit(0 if healthy else 1)
