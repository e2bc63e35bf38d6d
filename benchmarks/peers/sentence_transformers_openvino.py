"""sentence-transformers on OpenVINO. By default OpenVINO computes in bf16 if the processor has it, so fp32 is set.

At int8 the quantization is static, as in the documentation of sentence-transformers. Sentences of the workload
calibrate it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optimum.intel import OVQuantizationConfig
from sentence_transformers import SentenceTransformer, export_static_quantized_openvino_model

from benchmarks.peers import Encode, Job

CONFIGURATIONS: dict[str, dict[str, str]] = {"fp32": {"INFERENCE_PRECISION_HINT": "f32"}, "bf16": {}, "int8": {}}
COMPUTES_IN = {"fp32": "f32", "bf16": "bf16"}
# Each has 384 tokens. The 300 sentences of the documentation take minutes for 24 layers, and only affect the quality.
CALIBRATION_SENTENCES = 8
QUANTIZED = "openvino/openvino_model_qint8_quantized.xml"


@contextmanager
def load(job: Job) -> Iterator[Encode]:
    folder = job.scratch / "openvino"
    if not folder.exists():
        _load(job.older_checkpoint, export=True).save_pretrained(str(folder))
    if job.precision == "int8":
        _quantize(folder, job)
    model = _load(
        folder,
        export=False,
        ov_config=CONFIGURATIONS[job.precision],
        **({"file_name": QUANTIZED} if job.precision == "int8" else {}),
    )

    model.encode(job.sentences[:1])  # compiles it
    computes_in = model[0].auto_model.request.get_property("INFERENCE_PRECISION_HINT").to_string()
    if computes_in != COMPUTES_IN.get(job.precision, computes_in):
        raise RuntimeError(f"OpenVINO computes in {computes_in} on this processor, not in {job.precision}")
    yield lambda sentences, batch_size: model.encode(sentences, batch_size=batch_size)


def _load(checkpoint: Path, **options: object) -> SentenceTransformer:
    return SentenceTransformer(str(checkpoint), device="cpu", backend="openvino", model_kwargs=options)


def _quantize(folder: Path, job: Job) -> None:
    if (folder / QUANTIZED).exists():
        return
    calibration = job.scratch / "calibration"
    calibration.mkdir(exist_ok=True)
    with (calibration / "train.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["sentence"], *([sentence] for sentence in job.sentences[:CALIBRATION_SENTENCES])])
    export_static_quantized_openvino_model(
        _load(folder, export=False),
        OVQuantizationConfig(num_samples=CALIBRATION_SENTENCES),
        str(folder),
        dataset_name=str(calibration),
        dataset_config_name="default",
        dataset_split="train",
        column_name="sentence",
    )
