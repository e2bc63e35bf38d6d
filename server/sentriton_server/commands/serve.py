"""`sentriton serve`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sentriton.command_options import takes_settings
from sentriton.declaration import name_of
from sentriton_server.commands.terminal import catch_signals, say, show
from sentriton_server.setting_names import described
from sentriton_server.settings import ExportSettings, ServerSettings, ServeSettings

if TYPE_CHECKING:
    from sentriton_server.serving import TritonServer
    from sentriton_server.serving.log import LogLine

ServedSource = Annotated[
    str | None,
    typer.Argument(
        metavar="[CHECKPOINT|REPOSITORY]",
        help="A sentence-transformers folder or hub id, or an exported repository. "
        "Default: the bundled Korean checkpoint.",
    ),
]


@takes_settings(ServeSettings)
@takes_settings(ServerSettings)
@takes_settings(ExportSettings)
def serve(exports: ExportSettings, settings: ServerSettings, own: ServeSettings, source: ServedSource = None) -> None:
    """Serve a model on a Triton Inference Server until interrupted."""
    started = time.monotonic()
    from sentriton_server.commands.export_process import repository_for
    from sentriton_server.processor import int8_warning
    from sentriton_server.repository import read_manifest, read_operators
    from sentriton_server.serving import Supervisor, TritonServer
    from sentriton_server.serving.gateway import Gateway
    from sentriton_server.serving.preflight import check_ports
    from sentriton_server.serving.ready_file import ReadyFile, check_ready_file
    from sentriton_server.serving.security import check_security

    # gRPC would ask the proxy in $http_proxy for a server on an address of this machine.
    os.environ.update(no_grpc_proxy=settings.host)
    say(_choices(exports, settings, own))
    interrupted = catch_signals()
    server: TritonServer | None = None
    gateway: Gateway | None = None
    try:
        # Before the export, which may take minutes.
        check_security(settings)
        check_ports(settings, own)
        check_ready_file(own)
        gateway = None if own.gateway_port is None else Gateway(own, settings, say)
        repository = repository_for(source, exports)
        server = TritonServer(repository, settings, _log_printer(own.verbose, read_manifest(repository).device))
        if warning := int8_warning(server.manifest.precision, read_operators(repository)):
            show(f"warning: {warning}")
        ready_file = None if own.ready_file is None else ReadyFile(own.ready_file)
        supervisor = Supervisor(server, say, ready_file, gateway.look if gateway else None)
        supervisor.start(interrupted)
        if gateway is not None:
            gateway.start(server.client_settings)
            say(f"gateway at {gateway.url}")
        _announce(server, settings, time.monotonic() - started)
        supervisor.run(interrupted)
    except KeyboardInterrupt:
        say("stopping")
    finally:
        # Stopped first, since its requests in progress need the server.
        try:
            if gateway is not None:
                gateway.stop()
        finally:
            if server is not None:
                server.stop()


def _choices(exports: ExportSettings, settings: ServerSettings, own: ServeSettings) -> str:
    """The given settings (all with --verbose) and the number of threads, with their sources."""
    from sentriton_server.cores import usable_cores

    cores = usable_cores()
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0] == str(cores)
    threads = f"threads {cores} ({'$OMP_NUM_THREADS' if told else 'CPU affinity and cgroup quota'})"
    given = [line for each in (exports, settings, own) for line in described(each, all=own.verbose)]
    return f"settings: {', '.join([*given, threads])}"


def _announce(server: TritonServer, settings: ServerSettings, ready_s: float) -> None:
    for field in ("http_port", "metrics_port"):
        if getattr(settings, field) == 0:
            say(f"{field} {getattr(server.settings, field)} (a free port, since {name_of(settings, field)} is 0)")
    manifest = server.manifest
    with contextlib.suppress(OSError):  # a closed terminal
        typer.echo(
            f"serving {manifest.name} at {server.url} ({manifest.precision} on {manifest.device}, "
            f"{manifest.dimension} dimensions), ready in {ready_s:.1f} s"
        )


def _log_printer(verbose: bool, device: str) -> Callable[[LogLine], None]:
    """A function that prints the important lines of the log of a Triton for `device`, or all."""
    from sentriton_server.serving.log import is_worth_showing

    def show_line(line: LogLine) -> None:
        if verbose or is_worth_showing(line, device):
            show(str(line))

    return show_line
