"""`sentriton gateway`. It imports its packages when it runs, so that listing the commands is quick."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from sentriton.command_options import takes_settings
from sentriton.errors import InvalidInput
from sentriton.settings import ClientSettings
from sentriton_gateway.settings import GatewaySettings

app = typer.Typer()

_Number = Annotated[int | None, typer.Option(hidden=True)]


@app.command()
@takes_settings(GatewaySettings)
# During a roll-out, a call restarts with the new model. `sentriton serve` passes the listener as a file descriptor, and
# its process id as `beside`.
@takes_settings(ClientSettings, on_model_change="reload")
def gateway(
    client: ClientSettings, settings: GatewaySettings, listener_fd: _Number = None, beside: _Number = None
) -> None:
    """Serve OpenAI's embeddings API over HTTP for a server, until interrupted."""
    from sentriton_gateway.service import answer_requests, bind, url_of

    if not (settings.gateway_access_key or client.access_key) and os.environ.get("SENTRITON_ACCESS_KEY") == "":
        raise InvalidInput("$SENTRITON_ACCESS_KEY is empty; set a key, or remove the variable: callers need no key")
    with bind(settings) if listener_fd is None else socket.socket(fileno=listener_fd) as listener:
        if listener_fd is None:
            listener.listen()  # from now on, callers may connect
            typer.echo(f"gateway to {client.url} at {url_of(listener, settings)}")
        answer_requests(listener, client, settings, beside)
