"""Runs the gateway with a server (`serve --gateway-port`), as a process on a socket that `serve` keeps open."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sentriton.declaration import name_of, resolve, settings_of
from sentriton.requirements import GATEWAY, how_to_install
from sentriton.settings import ClientSettings
from sentriton_server.killed import wait_for_killed
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.restarts import RestartPolicy
from sentriton_server.settings import ServerSettings, ServeSettings

if TYPE_CHECKING:
    from sentriton_gateway.settings import GatewaySettings

_KILL_MARGIN_S = 5.0
# Without the current folder in sys.path, since its modules could replace the gateway's.
_PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from sentriton.cli import main; main()"


class Gateway:
    """A gateway process, which is restarted when it ends. Its port is reserved until `stop`, so callers that connect
    during a restart wait.

    Environment variables set its settings. If unset, access key and certificate are those of the server. Raises
    `LaunchError` if the gateway cannot run, and `InvalidInput` for an invalid setting.
    """

    def __init__(self, own: ServeSettings, server: ServerSettings, say: Callable[[str], None]) -> None:
        try:
            from sentriton_gateway.service import bind, url_of
            from sentriton_gateway.settings import GatewaySettings
        except ModuleNotFoundError as error:
            raise LaunchError(
                f"{name_of(own, 'gateway_port')} needs the distribution {GATEWAY} ({error.name} is not installed); "
                f"{how_to_install(distribution=GATEWAY)}"
            ) from error
        _check_server(own, server)
        self.settings: GatewaySettings = resolve(
            GatewaySettings,
            flags={"gateway_port": own.gateway_port},
            defaults={"gateway_tls_certificate": server.tls_certificate, "gateway_tls_key": server.tls_key},
        )
        self._say = say
        self._policy = RestartPolicy(server.restarts)
        self._process: subprocess.Popen[bytes] | None = None
        self._listener = bind(self.settings)
        self.url = url_of(self._listener, self.settings)
        self._due = self._started = 0.0

    def start(self, client: ClientSettings) -> None:
        """Start the process for the server that `client` reaches. Raises `LaunchError` if it keeps failing."""
        # During a roll-out, a call restarts with the new model.
        self._client = dataclasses.replace(client, on_model_change="reload")
        self._listener.listen()  # from now on, callers can connect and wait for the process
        self._start()

    def look(self) -> None:
        """Restart the process if it has ended. Raises `LaunchError` if it keeps failing."""
        if self._process is None:
            if time.monotonic() >= self._due:
                self._start()
        elif (code := self._process.poll()) is not None:
            self._process = None
            self._pause(f"the gateway ended unexpectedly with exit code {code}", time.monotonic() - self._started)

    def stop(self) -> None:
        """End the process after its requests in progress, and release the port. Raises `StillRunning` if SIGKILL does
        not end it.
        """
        process, self._process = self._process, None
        try:
            if process is not None:
                process.terminate()
                try:
                    process.wait(self.settings.gateway_exit_timeout_s + _KILL_MARGIN_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    wait_for_killed(process, "the gateway")
        finally:
            self._listener.close()

    def _start(self) -> None:
        descriptor = self._listener.fileno()
        options = ["gateway", "--listener-fd", str(descriptor), "--beside", str(os.getpid())]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *options],
                env=_environment(self._client, self.settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[descriptor],
                # Ctrl-C in the terminal reaches only `serve`, which ends the gateway before Triton.
                start_new_session=True,
            )
            self._started = time.monotonic()
        except OSError as error:  # too many processes, or too little memory
            self._pause(f"the gateway could not be started ({error.strerror})", 0.0)

    def _pause(self, reason: str, served_s: float) -> None:
        """Schedule the next start, after it served for `served_s`. Raises `LaunchError` if it keeps failing."""
        pause_s = self._policy.pause_s(served_s)
        if pause_s is None:
            raise LaunchError(
                f"{reason} {self._policy.in_a_row} times in a row and is not restarted "
                f"(--restarts {self._policy.restarts}); run `sentriton gateway` alone to see its error"
            )
        self._say(f"{reason}; restarting it in {pause_s:.1f} s")
        self._due = time.monotonic() + pause_s


def _check_server(own: ServeSettings, server: ServerSettings) -> None:
    if server.client_root_certificates is not None:
        port, roots = name_of(own, "gateway_port"), name_of(server, "client_root_certificates")
        raise LaunchError(
            f"{port} cannot be combined with {roots}: the gateway needs a certificate of its own for mutual TLS; run "
            "`sentriton gateway` with --client-certificate and --client-key"
        )


def _environment(*settings: Any) -> dict[str, str]:
    """This process's environment with exactly these settings. As arguments, all users could read the keys."""
    variables = dict(os.environ)
    for each in settings:
        for declared in settings_of(type(each)):
            value = getattr(each, declared.field)
            variables.pop(declared.variable, None)
            if value is not None:
                variables[declared.variable] = str(value)
    return variables
