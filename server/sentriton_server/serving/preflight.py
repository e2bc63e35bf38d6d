"""Checks before Triton starts, which fail early with a clear message."""

from __future__ import annotations

import shutil
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from sentriton.declaration import name_of
from sentriton_server.memory import GIB, available_memory
from sentriton_server.repository import read_config, read_operators
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.installation import tritonserver_on_path
from sentriton_server.serving.ports import Ports
from sentriton_server.serving.scratch import SHARED_MEMORY
from sentriton_server.settings import ServerSettings, ServeSettings

MIB = 1 << 20


def check_ports(settings: ServerSettings, own: ServeSettings | None = None) -> None:
    """Raises `LaunchError` for a port that is in use or occurs twice, here or in `own`."""
    seen: dict[int, str] = {}
    fields = [*((settings, field) for field in ("grpc_port", "http_port", "metrics_port")), (own, "gateway_port")]
    for given, field in fields:
        if port := getattr(given, field, None):
            name = name_of(given, field)
            if port in seen:
                raise LaunchError(f"{seen[port]} and {name} are both {port}; give each a port of its own")
            seen[port] = name
    Ports(settings).release()


def check_operators(repository: Path) -> None:
    """Raises `LaunchError` if the encoder needs Sentriton's operators but runs in Triton's libtorch backend."""
    tritonserver = tritonserver_on_path()
    if tritonserver is not None and read_operators(repository) == "sentriton":
        raise LaunchError(
            f"the encoder in {repository} has operators of Sentriton, which the libtorch backend of {tritonserver} "
            "cannot load; export the checkpoint again with --operators torch"
        )


def check_memory(repository: Path, row_cache_mib: int = 0, available: int | None = None) -> None:
    """Raises `LaunchError` if weights, working memory and row cache exceed `available` bytes (default: free memory)."""
    weights = (repository / "encoder/1/model.pt").stat().st_size
    needed = int(1.3 * weights) + GIB + row_cache_mib * MIB
    available = available_memory() if available is None else available
    if needed > available:
        raise LaunchError(
            f"the model needs about {needed / GIB:.1f} GiB of memory{', row cache included,' if row_cache_mib else ''} "
            f"and {available / GIB:.1f} GiB is available; free memory, raise the container's limit, "
            f"{'lower --row-cache-mib, ' if row_cache_mib else ''}or export with a lower --precision"
        )


def check_shared_memory(repository: Path, free: int | None = None) -> None:
    """Raises `LaunchError` if /dev/shm has too few `free` bytes for the largest batch between encoder and pooling."""
    encoder, embed_tokens = (read_config(repository, model) for model in ("encoder", "embed_tokens"))
    token_bytes = encoder.output[0].dims[-1] * 4
    on_gpu = any(group.kind == ModelInstanceGroup.KIND_GPU for group in encoder.instance_group)
    largest = 0 if on_gpu else encoder.max_batch_size * token_bytes  # on a GPU they stay in its memory
    settings = embed_tokens.parameters
    longest_row = embed_tokens.max_batch_size // int(settings["REQUEST_ROWS"].string_value)
    largest_answer = max(int(settings["TOKEN_EMBEDDINGS_TOKENS"].string_value), longest_row) * token_bytes
    # A batch is there as the encoder's output and as pooling's input, and the next batch overlaps with it. An answer
    # with token embeddings overlaps with the previous one, which is being sent.
    needed = 4 * largest + 2 * largest_answer + 32 * MIB
    free = shutil.disk_usage(SHARED_MEMORY).free if free is None else free
    if needed > free:
        raise LaunchError(
            f"{SHARED_MEMORY} has {free / MIB:.0f} MiB free and the largest batch needs {needed / MIB:.0f} MiB; "
            "give it more (docker run --shm-size=1g; Kubernetes: a memory emptyDir at /dev/shm), or export with a "
            "lower --max-seq-length"
        )
