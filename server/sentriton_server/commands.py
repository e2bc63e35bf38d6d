"""The commands that the server adds to `sentriton`. Its packages are imported inside each command, so that listing the
commands is quick.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()
_console = Console(stderr=True, highlight=False, soft_wrap=True)

Precision = Annotated[
    str | None,
    typer.Option(
        envvar="SENTRITON_PRECISION", help="fp32, bf16 or int8 on a CPU; fp32 or fp16 on a GPU. Default: fp32 / fp16."
    ),
]
Device = Annotated[str, typer.Option(envvar="SENTRITON_DEVICE", help="auto, cpu or gpu.")]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        envvar="SENTRITON_ALLOW_PICKLE",
        help="Read weights that are not safetensors: pickles, which may run code.",
    ),
]


@app.command()
def serve(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHECKPOINT|REPOSITORY]",
            help="A sentence-transformers folder or hub id, or an exported repository. "
            "Default: the bundled Korean checkpoint.",
        ),
    ] = None,
    precision: Precision = None,
    device: Device = "auto",
    allow_pickle: AllowPickle = False,
    host: Annotated[str, typer.Option(envvar="SENTRITON_HOST", help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(envvar="SENTRITON_GRPC_PORT", help="0 takes a free port.")] = 8001,
    http_port: Annotated[
        int | None, typer.Option(envvar="SENTRITON_HTTP_PORT", help="Off unless given; 0 takes a free port.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(envvar="SENTRITON_METRICS_HOST", help="Address of the Prometheus metrics.")
    ] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(envvar="SENTRITON_METRICS_PORT", help="0 takes a free port.")] = 8002,
    tls_certificate: Annotated[
        str | None,
        typer.Option(envvar="SENTRITON_TLS_CERTIFICATE", help="PEM file of the server's certificate: turns on TLS."),
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(envvar="SENTRITON_TLS_KEY", help="PEM file of the certificate's key.")
    ] = None,
    client_root_certificates: Annotated[
        str | None,
        typer.Option(
            envvar="SENTRITON_CLIENT_ROOT_CERTIFICATES",
            help="PEM file of the authorities whose clients may connect: turns on mutual TLS.",
        ),
    ] = None,
    access_key: Annotated[
        str | None,
        typer.Option(envvar="SENTRITON_ACCESS_KEY", help="What callers must send. Better set as variable."),
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option(
            envvar="SENTRITON_ADMIN_KEY",
            help="What model control, shared memory, statistics, trace and logging ask for; refused without one.",
        ),
    ] = None,
    trace_url: Annotated[
        str | None,
        typer.Option(
            envvar="SENTRITON_TRACE_URL",
            help="Where OpenTelemetry traces go (OTLP over HTTP: http://localhost:4318/v1/traces); off without.",
        ),
    ] = None,
    trace_rate: Annotated[
        int,
        typer.Option(
            envvar="SENTRITON_TRACE_RATE",
            help="One request in this many is traced, beside all that their callers trace; 0: only those.",
        ),
    ] = 1000,
    max_connection_age_s: Annotated[
        int | None,
        typer.Option(
            "--max-connection-age",
            envvar="SENTRITON_MAX_CONNECTION_AGE",
            help="Seconds after which a connection ends, so that clients look up their servers again; off without.",
        ),
    ] = None,
    row_cache_mib: Annotated[
        int,
        typer.Option(
            envvar="SENTRITON_ROW_CACHE_MIB",
            help="MiB of memory for embeddings of rows, so that the same rows are not computed again; 0: none.",
        ),
    ] = 0,
    canary_period_s: Annotated[
        float,
        typer.Option(
            "--canary-period", envvar="SENTRITON_CANARY_PERIOD", help="Seconds between two looks at whether it serves."
        ),
    ] = 5.0,
    canary_timeout_s: Annotated[
        float,
        typer.Option(
            "--canary-timeout", envvar="SENTRITON_CANARY_TIMEOUT", help="Seconds that a golden sentence may take."
        ),
    ] = 15.0,
    restarts: Annotated[
        int,
        typer.Option(envvar="SENTRITON_RESTARTS", help="Starts in a row of a Triton that keeps failing; 0: none."),
    ] = 5,
    ready_file: Annotated[
        Path | None,
        typer.Option(envvar="SENTRITON_READY_FILE", help="A file that exists while the server serves."),
    ] = None,
    ready_timeout_s: Annotated[
        float,
        typer.Option("--ready-timeout", envvar="SENTRITON_READY_TIMEOUT", help="Seconds to wait until it serves."),
    ] = 300.0,
    exit_timeout_s: Annotated[
        int, typer.Option("--exit-timeout", envvar="SENTRITON_EXIT_TIMEOUT", help="Seconds to drain when stopped.")
    ] = 30,
    verbose: Annotated[bool, typer.Option(envvar="SENTRITON_VERBOSE", help="Show all of Triton's log.")] = False,
) -> None:
    """Serve a model on a real Triton Inference Server until interrupted."""
    started = time.monotonic()
    from sentriton_server.serving import ServerSettings, Supervisor, TritonServer, prepare_repository
    from sentriton_server.serving.log import LogLine, is_worth_showing
    from sentriton_server.serving.preflight import check_ports
    from sentriton_server.serving.security import check_security

    def show(line: LogLine) -> None:
        if verbose or is_worth_showing(line):
            _show(str(line))

    settings = ServerSettings(
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        client_root_certificates=client_root_certificates,
        access_key=access_key,
        admin_key=admin_key,
        trace_url=trace_url,
        trace_rate=trace_rate,
        max_connection_age_s=max_connection_age_s,
        row_cache_mib=row_cache_mib,
        canary_period_s=canary_period_s,
        canary_timeout_s=canary_timeout_s,
        restarts=restarts,
        ready_timeout_s=ready_timeout_s,
        exit_timeout_s=exit_timeout_s,
    )
    interrupted = _catch_signals()
    server: TritonServer | None = None
    try:
        # Before minutes are spent on an export.
        check_security(settings)
        check_ports(settings)
        repository = prepare_repository(source, precision=precision, device=device, allow_pickle=allow_pickle, say=_say)
        server = TritonServer(repository, settings, show)
        supervisor = Supervisor(server, _say, ready_file)
        supervisor.start(interrupted)
        manifest = server.manifest
        with contextlib.suppress(OSError):  # a closed terminal
            typer.echo(
                f"serving {manifest.name} at {server.url} ({manifest.precision} on {manifest.device}, "
                f"{manifest.dimension} dimensions), ready in {time.monotonic() - started:.1f} s"
            )
        supervisor.run(interrupted)
    except KeyboardInterrupt:
        _say("stopping")
    finally:
        if server is not None:
            server.stop()


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A sentence-transformers folder or hub id.")],
    repository: Annotated[Path, typer.Argument(help="The folder to write.")],
    precision: Precision = None,
    device: Device = "auto",
    allow_pickle: AllowPickle = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an exported repository that is there.")] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Scored pairs, as `sentriton evaluate` takes them: show every precision's quality."
        ),
    ] = None,
) -> None:
    """Write a deployable model repository and report how it compares with sentence-transformers."""
    from sentriton.evaluation.command import figures_table, read_scored
    from sentriton_server.export import export as export_checkpoint
    from sentriton_server.parity import SMALLEST_PREFIX

    pairs = None if evaluate is None else read_scored(evaluate)
    manifest = export_checkpoint(
        checkpoint,
        repository,
        precision=precision,
        device=device,
        overwrite=overwrite,
        allow_pickle=allow_pickle,
        say=_say,
    )
    parity = manifest.parity
    typer.echo(
        f"exported {manifest.name} to {repository} ({manifest.precision} on {manifest.device})\n"
        f"parity with sentence-transformers on {parity['sentences']} sentences: minimum cosine "
        f"{parity['min_cosine']:.7f}, truncated to any dimension from {SMALLEST_PREFIX} "
        f"{parity['min_prefix_cosine']:.7f} (allowed {manifest.min_cosine}), largest difference "
        f"{parity['max_difference']:.2e}"
    )
    if pairs is not None:
        from sentriton_server.quality import quality_by_precision

        figures = quality_by_precision(checkpoint, repository, manifest.device, pairs, _say, allow_pickle=allow_pickle)
        title = f"{manifest.name}, {len(pairs):,} pairs of {Path(str(evaluate)).name}"
        Console(soft_wrap=True).print(figures_table(title, figures))


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="The name of a recipe that comes along (bundled, klue-sts), or a .toml file.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The folder to write the checkpoint to; the recipe's name if left out.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="SENTRITON_DATA",
            help="The folder with the recipe's data sets. Default: where `sentriton data` puts them.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Start from this folder or hub id instead of the recipe's checkpoint.")
    ] = None,
) -> None:
    """Train a checkpoint from a recipe and write it with a model card that has its measured figures.

    The same command goes on where an interrupted one stopped.
    """
    from sentriton_server.data_sets import data_folder
    from sentriton_server.training import load_recipe
    from sentriton_server.training import train as train_recipe

    chosen = load_recipe(recipe, base)
    output = output or Path(chosen.name)
    _catch_signals()
    try:
        report = train_recipe(chosen, output=output, data_dir=data or data_folder(), say=_say)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        raise typer.Exit(130) from None
    typer.echo(
        f"trained {report.recipe.name} in {report.duration_s / 60:.1f} minutes; figures are in {output / 'README.md'}"
    )


def _say(step: str) -> None:
    _show(step, style="dim")


def _show(text: str, style: str | None = None) -> None:
    # A terminal that was closed, or a pipe whose reader has gone, ends no server: rich would exit.
    with contextlib.suppress(OSError, ValueError, SystemExit):
        _console.print(text, style=style, markup=False)


def _catch_signals() -> threading.Event:
    """SIGINT, SIGTERM, SIGHUP and SIGQUIT become a `KeyboardInterrupt`, once; what follows is the shutdown, which more
    of them must not cut short. A signal that is ignored when the command starts (by nohup, say) stays ignored.

    The returned event is set as well: an exception that a signal raises inside a callback of a C library is swallowed
    there, and whoever waits looks at the event too.
    """
    interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    return interrupted
