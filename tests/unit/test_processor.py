"""The benchmarks' description of a processor, from the files of Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.processor import Processor, read_processor
from benchmarks.workload import hardware

EPYC = """processor\t: 0
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu sse2 avx2 avx512f avx_vnni avx512_bf16 avx512_vnni

processor\t: 1
model\t\t: 3
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    for index, (level, kind, size) in enumerate(
        [(1, "Data", "48K"), (2, "Unified", "1024K"), (3, "Unified", "32768K")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    return tmp_path


def read(text: str, caches: Path) -> Processor:
    cpuinfo = caches / "cpuinfo"
    cpuinfo.write_text(text)
    return read_processor(cpuinfo, caches)


def test_a_processor_has_a_name_instruction_sets_and_caches(caches: Path) -> None:
    assert str(read(EPYC, caches)) == (
        "AMD EPYC, family 26, model 2 (AVX2, AVX-512, AVX-512 bf16, AVX-512 VNNI, AVX VNNI, L2 1024K, L3 32768K)"
    )


def test_an_arm_processor_is_named_by_its_part(caches: Path) -> None:
    found = read(ARM, caches)
    assert "part 0xd40" in found.name
    assert found.instruction_sets == ("NEON", "NEON dot products", "NEON bf16", "NEON int8 products")


def test_a_processor_that_hides_all_has_the_machines_name(tmp_path: Path) -> None:
    found = read("processor\t: 0\n", tmp_path)
    assert found.name
    assert found.instruction_sets == found.caches == ()


def test_this_machine_is_described_with_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert hardware().startswith(f"3 cores of {read_processor().name}")
