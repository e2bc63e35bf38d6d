"""The GPUs of this machine, and Triton's flags for them. The CUDA driver counts them, so torch is not needed. Every
NVIDIA container has the driver's library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import TYPE_FP16

from sentriton_server.repository import read_config
from sentriton_server.serving.errors import LaunchError

DRIVER = "libcuda.so.1"
_SUCCESS = 0
_MIB = 1 << 20
_GIB = 1 << 30
# The pool holds a batch twice, as the encoder's output and as pooling's input.
_COPIES_OF_A_BATCH = 2
_POOL_FOR_THE_REST = 64 * _MIB  # Triton's own default
# The contexts of two processes, and the encoder's working memory.
_WORKING_MEMORY = 3 * _GIB
_FLAG = "--cuda-memory-pool-byte-size"


@dataclass(frozen=True)
class Gpu:
    """One GPU. `memory` is in bytes."""

    memory: int


def find_gpus(driver: str = DRIVER) -> list[Gpu]:
    """The GPUs that this process may use, according to `$CUDA_VISIBLE_DEVICES`. Empty if the machine has no driver."""
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return []
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != _SUCCESS or cuda.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS:
        return []
    gpus = []
    for number in range(count.value):
        device, memory = ctypes.c_int(0), ctypes.c_size_t(0)
        if cuda.cuDeviceGet(ctypes.byref(device), number) == _SUCCESS:
            cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
            gpus.append(Gpu(memory.value))
    return gpus


def check_gpus(repository: Path, gpus: list[Gpu]) -> None:
    """Raises `LaunchError` if the machine has no GPU, or if a GPU is too small for the repository."""
    if not gpus:
        raise LaunchError(
            f"the model in {repository} is for a GPU, and the CUDA driver finds none; serve it on a machine with "
            "an NVIDIA GPU and its driver, or export the checkpoint with --device cpu"
        )
    weights = (repository / "encoder/1/model.pt").stat().st_size
    needed, smallest = weights + pool_bytes(repository) + _WORKING_MEMORY, min(gpu.memory for gpu in gpus)
    if needed > smallest:
        raise LaunchError(
            f"the model needs about {needed / _GIB:.1f} GiB of GPU memory and the smallest GPU has "
            f"{smallest / _GIB:.1f} GiB; use a larger GPU or export with a lower --precision"
        )


def pool_bytes(repository: Path) -> int:
    """Size of Triton's pool of GPU memory. With a smaller pool, Triton would copy token embeddings through the host."""
    encoder, embed_tokens = (read_config(repository, model) for model in ("encoder", "embed_tokens"))
    (output,) = encoder.output
    of_token = output.dims[-1] * (2 if output.data_type == TYPE_FP16 else 4)
    batches = int(embed_tokens.parameters["BATCHES_IN_FLIGHT"].string_value)
    return int(_COPIES_OF_A_BATCH * batches * encoder.max_batch_size * of_token + _POOL_FOR_THE_REST)


def gpu_arguments(repository: Path, gpus: Sequence[Gpu]) -> list[str]:
    """Triton's flags for these GPUs."""
    pool = pool_bytes(repository) if gpus else 0
    return [f"{_FLAG}={number}:{pool}" for number in range(len(gpus))]
