"""The settings of the server's commands with their defaults. This module is quick to import, since the command line
reads it for every command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sentriton.allowed import ABOVE_0, HOST, KEY, PORT, TRUTH, matching, one_of, whole
from sentriton.declaration import check_settings, setting

DeviceName = Literal["auto", "cpu", "gpu"]
PrecisionName = Literal["fp32", "bf16", "int8", "fp16"]
OperatorsName = Literal["auto", "sentriton", "torch"]
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
PRECISION_NAMES: tuple[PrecisionName, ...] = get_args(PrecisionName)
OPERATORS: tuple[OperatorsName, ...] = get_args(OperatorsName)

_MODEL = "Model"
_TEXT = "Text"
_NETWORK = "Network"
_SECURITY = "Security"
_TRACING = "Tracing"
_SUPERVISION = "Supervision"
_FILES = "Files"

_SECONDS_OR_NONE = whole(0, of="seconds")


@dataclass(frozen=True)
class ExportSettings:
    """The settings of an export. Raises `InvalidInput` for an invalid value."""

    precision: PrecisionName | None = setting(
        None,
        "Precision of the encoder: fp32, bf16 or int8 on a CPU; fp16, bf16 or fp32 on a GPU.",
        group=_MODEL,
        allowed=one_of(*PRECISION_NAMES),
        unit="precision",
        unset="fp32 on a CPU; fp16 on a GPU, or bf16 if fp16 overflows",
    )
    device: DeviceName = setting(
        "auto",
        "Device that the model runs on (auto: the GPU if torch sees one, else the CPU).",
        group=_MODEL,
        allowed=one_of(*DEVICES),
        unit="device",
    )
    check_on: DeviceName = setting(
        "auto",
        "Device on which an export is compared with sentence-transformers (auto: that of the model). With cpu, a "
        "machine without a GPU can export for one.",
        group=_MODEL,
        allowed=one_of(*DEVICES),
        unit="device",
    )
    operators: OperatorsName = setting(
        "auto",
        "Operators of an encoder on a CPU: torch's, or Sentriton's own in C++ (auto: Sentriton's if they are available "
        "for this encoder).",
        group=_MODEL,
        allowed=one_of(*OPERATORS),
        unit="operators",
    )
    max_seq_length: int | None = setting(
        None,
        "Number of tokens at which a text is truncated, special tokens included. Another number gives the model "
        "another fingerprint, by which clients identify it.",
        group=_TEXT,  # a separate group, since its variable does not fit into 80 columns with the model's flags
        allowed=whole(1, of="tokens"),
        unit="tokens",
        unset="the checkpoint's own",
    )
    allow_pickle: bool = setting(
        False,
        "Read pickled weights if the checkpoint has no safetensors. A pickle may run code.",
        group=_MODEL,
        allowed=TRUTH,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ServerSettings:
    """The settings of one Triton and its supervision. Raises `InvalidInput` for an invalid value.

    The default addresses are loopback, because the wheel's Triton is an older release and must not face a network.
    """

    host: str = setting(
        "127.0.0.1",
        "Address of gRPC and HTTP. The metrics and the gateway have their own.",
        group=_NETWORK,
        allowed=HOST,
        unit="host",
    )
    grpc_port: int = setting(8001, "Port of gRPC. 0 takes a free port.", group=_NETWORK, allowed=PORT, unit="port")
    http_port: int | None = setting(
        None,
        "Port of KServe's HTTP protocol, which has no TLS. 0 takes a free port.",
        group=_NETWORK,
        allowed=PORT,
        unit="port",
        unset="no HTTP",
    )
    metrics_host: str = setting(
        "127.0.0.1", "Address of the Prometheus metrics.", group=_NETWORK, allowed=HOST, unit="host"
    )
    metrics_port: int = setting(
        8002, "Port of the Prometheus metrics. 0 takes a free port.", group=_NETWORK, allowed=PORT, unit="port"
    )
    tls_certificate: str | None = setting(
        None, "PEM file of the server's certificate.", group=_SECURITY, unit="file", unset="no TLS"
    )
    tls_key: str | None = setting(None, "PEM file of the certificate's key.", group=_SECURITY, unit="file")
    client_root_certificates: str | None = setting(
        None,
        "PEM file of the authorities that sign the clients' certificates.",
        group=_SECURITY,
        unit="file",
        unset="no mutual TLS",
    )
    access_key: str | None = setting(
        None,
        "Key for inference, metadata and configuration. All users of the machine can see it among Triton's arguments.",
        group=_SECURITY,
        allowed=KEY,
        unit="key",
        unset="no key needed",
        secret=True,
        lock=True,
    )
    admin_key: str | None = setting(
        None,
        "Key for model control, shared memory, statistics, trace and logging. All users of the machine can see it "
        "among Triton's arguments.",
        group=_SECURITY,
        allowed=KEY,
        unit="key",
        unset="these APIs are disabled",
        secret=True,
        lock=True,
    )
    trace_url: str | None = setting(
        None,
        "Collector of OpenTelemetry traces (OTLP over HTTP).",
        group=_TRACING,
        allowed=matching(r"https?://[^\s,]+", "addresses of OTLP over HTTP, such as http://localhost:4318/v1/traces"),
        unit="url",
        unset="no traces",
    )
    trace_rate: int = setting(
        1000,
        "Trace 1 in N requests, plus those that the caller traces (0: only the latter).",
        group=_TRACING,
        allowed=whole(0, zero="only callers' traces"),
        unit="n",
    )
    max_connection_age_s: int | None = setting(
        None,
        "Age at which the server ends a connection, so that its client re-resolves the server's name.",
        group=_NETWORK,
        allowed=whole(1, of="seconds"),
        unit="seconds",
        unset="no limit",
        former_flag="--max-connection-age",
        former_variable="SENTRITON_MAX_CONNECTION_AGE",
    )
    row_cache_mib: int = setting(
        0,
        "Memory for caching the embeddings of repeated sentences (0: off).",
        group=_MODEL,
        allowed=whole(0, of="MiB", zero="off"),
        unit="MiB",
    )
    canary_period_s: float = setting(
        5.0,
        "Time between two canaries. A canary embeds a golden sentence and checks its vector.",
        group=_SUPERVISION,
        allowed=ABOVE_0,
        unit="seconds",
        former_flag="--canary-period",
        former_variable="SENTRITON_CANARY_PERIOD",
    )
    canary_timeout_s: float = setting(
        15.0,
        "Deadline of a canary.",
        group=_SUPERVISION,
        allowed=ABOVE_0,
        unit="seconds",
        former_flag="--canary-timeout",
        former_variable="SENTRITON_CANARY_TIMEOUT",
    )
    restarts: int = setting(
        5,
        "Largest number of restarts in a row if Triton keeps failing (0: none). The gateway has the same limit.",
        group=_SUPERVISION,
        allowed=whole(0, zero="never restart"),
        unit="restarts",
    )
    ready_timeout_s: float = setting(
        300.0,
        "Deadline of a start, warm-up and first canary included.",
        group=_SUPERVISION,
        allowed=ABOVE_0,
        unit="seconds",
        former_flag="--ready-timeout",
        former_variable="SENTRITON_READY_TIMEOUT",
    )
    exit_timeout_s: int = setting(
        30,
        "Longest time to finish the requests in progress after a stop signal.",
        group=_SUPERVISION,
        allowed=_SECONDS_OR_NONE,
        unit="seconds",
        former_flag="--exit-timeout",
        former_variable="SENTRITON_EXIT_TIMEOUT",
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class DataSettings:
    """Where the public data sets are, for `sentriton data` and `sentriton train`."""

    data: Path | None = setting(
        None,
        "Folder of the public data sets.",
        group=_FILES,
        unit="folder",
        unset="data in the cache",
        former_flag="--folder",
    )


@dataclass(frozen=True)
class ServeSettings:
    """The settings of `sentriton serve` in addition to `ServerSettings`."""

    ready_file: Path | None = setting(
        None, "File that exists while the server is ready.", group=_SUPERVISION, unit="file", unset="no file"
    )
    gateway_port: int | None = setting(
        None,
        "Port of a gateway beside the server, with OpenAI's API. 0 takes a free port.",
        group=_NETWORK,
        allowed=PORT,
        unit="port",
        unset="no gateway",
    )
    verbose: bool = setting(False, "Show all of Triton's log, and all settings.", group=_SUPERVISION, allowed=TRUTH)
