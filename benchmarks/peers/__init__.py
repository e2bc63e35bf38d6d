"""The contenders of `benchmarks.offline`: Sentriton and its peers, one file per kind.

Every file has a context manager, `load(job)`. It prepares `job.checkpoint` at `job.precision` and yields a function,
`encode(sentences, batch_size)`, which returns float32 [sentences, dimension]. `benchmarks.peers.worker` runs it in a
separate process. A peer with conflicting packages has its own virtual environment, and imports nothing of Sentriton.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[list[str], int], NDArray[np.float32]]

ROOT = Path(__file__).resolve().parents[2]
# The default of sentence-transformers, a size with less padding, and one without padding.
BATCH_SIZES = (32, 8, 1)


@dataclass(frozen=True)
class Job:
    """The task of a contender.

    `checkpoint` is in the format of sentence-transformers 6, and `older_checkpoint` is the same in the format of older
    releases. `scratch` is the folder of all exports, which contenders use again. `sentences` is the workload. A
    contender may read it in advance, since the padded repository needs the longest length.
    """

    checkpoint: Path
    older_checkpoint: Path
    scratch: Path
    precision: str
    device: str
    batch_sizes: tuple[int, ...]
    options: dict[str, str]
    sentences: list[str]


@dataclass(frozen=True)
class Peer:
    """A kind of contender: its file, its precisions on each device, and its batch sizes. 0: it chooses its own."""

    label: str
    module: str
    precisions: dict[str, tuple[str, ...]]
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    environment: str = ".venv"
    options: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """Its interpreter, which `make peers` installs."""
        return ROOT / self.environment / "bin/python"


TORCH = "sentence-transformers"
SENTRITON = "sentriton"
PEERS = {
    TORCH: Peer(
        "sentence-transformers torch",
        "sentence_transformers_torch",
        {"cpu": ("fp32", "bf16"), "gpu": ("fp32", "fp16")},
        batch_sizes=(32, 8),
    ),
    "onnx": Peer(
        "sentence-transformers ONNX",
        "sentence_transformers_onnx",
        {"cpu": ("fp32", "int8")},
        environment=".venv-peers",
    ),
    "openvino": Peer(
        "sentence-transformers OpenVINO",
        "sentence_transformers_openvino",
        {"cpu": ("fp32", "bf16", "int8")},
        environment=".venv-peers",
    ),
    "ctranslate2": Peer(
        "CTranslate2",
        "ctranslate2_encoder",
        {"cpu": ("fp32", "int8")},  # its wheel has no bf16 on a CPU
        batch_sizes=(32, 16, 8),
        environment=".venv-peers",
    ),
    "infinity": Peer(
        "Infinity (torch), HTTP",
        "infinity_service",
        {"cpu": ("fp32", "bf16", "int8")},
        batch_sizes=(32, 8),
        environment=".venv-infinity",
        options={"engine": "torch"},
    ),
    "infinity-optimum": Peer(
        "Infinity (optimum), HTTP",
        "infinity_service",
        {"cpu": ("fp32", "int8")},
        batch_sizes=(32, 8),
        environment=".venv-infinity",
        options={"engine": "optimum"},
    ),
    "padded": Peer("padded Triton repository, gRPC", "padded_service", {"cpu": ("fp32",)}, batch_sizes=(32, 8)),
    SENTRITON: Peer(
        "Sentriton, gRPC",
        "sentriton_service",
        {"cpu": ("fp32", "bf16", "int8"), "gpu": ("fp32", "fp16")},
        batch_sizes=(0,),
    ),
}
