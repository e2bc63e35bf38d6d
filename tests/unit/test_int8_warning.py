"""The warning for int8 on a processor that has no instructions for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentriton_server.processor import int8_warning

BEFORE_VNNI = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512bw\n"


def warning(tmp_path: Path, text: str, precision: str = "int8", operators: str = "torch") -> str | None:
    (tmp_path / "cpuinfo").write_text(text)
    return int8_warning(precision, operators, tmp_path / "cpuinfo")


def test_a_processor_without_the_instructions_is_told(tmp_path: Path) -> None:
    for text in (BEFORE_VNNI, "processor\t: 0\nFeatures\t: fp asimd bf16\n"):
        said = warning(tmp_path, text)
        assert said is not None
        for words in ("avx512_vnni", "about twice the time and vectors may deviate more", "--precision fp32"):
            assert words in said


@pytest.mark.parametrize(
    "text",
    [BEFORE_VNNI.replace("avx2", flag) for flag in ("avx512_vnni", "avx_vnni", "amx_int8")]
    + ["Features\t: fp asimd asimddp\n", "processor\t: 0\n"],
)
def test_others_are_not(tmp_path: Path, text: str) -> None:
    assert warning(tmp_path, text) is None


def test_operators_that_make_up_for_the_instructions_silence_it(tmp_path: Path) -> None:
    avx2 = "flags\t\t: fpu fma avx2\n"
    assert warning(tmp_path, avx2, operators="torch") is not None
    assert warning(tmp_path, avx2, operators="sentriton") is None
    for without in (avx2.replace("fma", ""), avx2.replace("avx2", "avx2 avx512f")):
        assert warning(tmp_path, without, operators="sentriton") is not None


def test_neither_are_other_precisions_and_systems(tmp_path: Path) -> None:
    assert warning(tmp_path, BEFORE_VNNI, "bf16") is None
    assert int8_warning("int8", "torch", tmp_path / "none") is None
