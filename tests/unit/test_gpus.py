"""GPUs by a driver's count. A test library with NVIDIA's functions replaces the driver."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sentriton_server.gpu_sizes import gpu_sizes
from sentriton_server.repository import write_configs
from sentriton_server.resources import load_model_code
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.gpus import Gpu, check_gpus, find_gpus, gpu_arguments, pool_bytes
from sentriton_server.serving.installation import Installation
from sentriton_server.serving.preflight import check_shared_memory
from sentriton_server.serving.process import _environment
from sentriton_server.serving.profile import read_profile
from sentriton_server.settings import ServerSettings

GIB, MIB = 1 << 30, 1 << 20
DRIVER = """
#include <stddef.h>
int cuInit(unsigned flags) { return %(status)d; }
int cuDeviceGetCount(int *count) { *count = %(count)d; return 0; }
int cuDeviceGet(int *device, int number) { *device = 40 + number; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device - 39) << 30; return 0; }
"""


def make_driver(folder: Path, count: int, status: int = 0) -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a driver with")
    source, library = folder / "driver.c", folder / "libcuda.so.1"
    source.write_text(DRIVER % {"count": count, "status": status})
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    write_configs(
        folder,
        hidden_size=1024,
        dimension=1024,
        max_seq_length=512,
        token_embeddings_dtype="TYPE_FP16",
        device="gpu",
        gpu=gpu_sizes(1024, 4096, 512, 2),
    )
    (folder / "encoder/1").mkdir(parents=True, exist_ok=True)
    (folder / "encoder/1/model.pt").write_bytes(b"weights")
    return folder


def test_the_driver_counts_the_gpus_and_their_memory(tmp_path: Path) -> None:
    assert find_gpus(make_driver(tmp_path, count=3)) == [Gpu(1 * GIB), Gpu(2 * GIB), Gpu(3 * GIB)]


def test_without_a_driver_or_a_device_there_are_no_gpus(tmp_path: Path) -> None:
    assert find_gpus("libno-such-driver.so.1") == []
    assert find_gpus(make_driver(tmp_path, count=2, status=100)) == [], "CUDA_ERROR_NO_DEVICE"


def test_triton_gets_a_pool_on_each_gpu_that_holds_the_batches_in_flight(repository: Path) -> None:
    assert pool_bytes(repository) == 2 * 3 * 8192 * 1024 * 2 + 64 * MIB
    assert gpu_arguments(repository, [Gpu(GIB)] * 2) == [
        f"--cuda-memory-pool-byte-size={number}:{pool_bytes(repository)}" for number in range(2)
    ]
    assert gpu_arguments(repository, []) == []


def test_a_model_for_a_gpu_is_not_started_without_one_or_on_a_small_one(repository: Path) -> None:
    check_gpus(repository, [Gpu(16 * GIB)])
    with pytest.raises(LaunchError, match="is for a GPU, and the CUDA driver finds none; serve it on a machine"):
        check_gpus(repository, [])
    with pytest.raises(LaunchError, match=r"needs about 3.2 GiB of GPU memory and the smallest GPU has 2.0 GiB"):
        check_gpus(repository, [Gpu(80 * GIB), Gpu(2 * GIB)])


def test_token_embeddings_of_a_gpu_need_no_shared_memory(repository: Path) -> None:
    check_shared_memory(repository, free=96 * MIB)


@pytest.mark.parametrize(("gpus", "in_flight"), [(0, 3), (1, 3), (2, 5), (8, 17)])
def test_every_gpu_has_batches_of_its_own_in_flight(gpus: int, in_flight: int) -> None:
    assert load_model_code("embed_tokens", "batch_size").batches_in_flight(3, gpus) == in_flight


def test_fp32_is_never_computed_as_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1")
    given = _environment(read_profile("gpu"), Installation(Path("tritonserver"), ""), ServerSettings(), "key", 2)
    assert (given["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"], given["SENTRITON_GPUS"]) == ("0", "2")
