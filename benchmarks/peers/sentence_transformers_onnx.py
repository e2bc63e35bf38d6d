"""sentence-transformers on ONNX Runtime: fp32, and int8 as in its documentation (dynamic quantization for processors
with VNNI: https://sbert.net/docs/sentence_transformer/usage/efficiency.html).

As a command with the arguments `CHECKPOINT FOLDER PRECISION`, it only exports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

from benchmarks.peers import Encode, Job

QUANTIZATION = "avx512_vnni"
FILES = {"fp32": "onnx/model.onnx", "int8": f"onnx/model_qint8_{QUANTIZATION}.onnx"}


def export(checkpoint: Path, folder: Path, precision: str) -> None:
    """Write to `folder` the precision's file in `FILES` and its sources, unless they exist."""
    if not (folder / FILES["fp32"]).exists():
        SentenceTransformer(
            str(checkpoint), device="cpu", backend="onnx", model_kwargs={"export": True}
        ).save_pretrained(str(folder))
    if not (folder / FILES[precision]).exists():
        export_dynamic_quantized_onnx_model(_load(folder, "fp32"), QUANTIZATION, str(folder))


def _load(folder: Path, precision: str) -> SentenceTransformer:
    return SentenceTransformer(
        str(folder), device="cpu", backend="onnx", model_kwargs={"file_name": FILES[precision], "export": False}
    )


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    folder = job.scratch / "onnx"
    export(job.older_checkpoint, folder, job.precision)
    model = _load(folder, job.precision)

    yield lambda sentences, batch_size: model.encode(sentences, batch_size=batch_size)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
