from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentriton_server.cores import usable_cores

ALL_CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("told", "cores"), [("3", 3), ("5,2", 5), ("0", ALL_CORES), ("many", ALL_CORES)])
def test_what_openmp_is_told_comes_first(
    told: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert usable_cores(tmp_path / "cpu.max") == cores


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("max 100000", ALL_CORES),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("199999 100000", 1),
        ("99900000 100000", ALL_CORES),
    ],
)
def test_a_quota_bounds_the_cores(cpu_max: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_control_group_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "cpu.max") == ALL_CORES
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores(tmp_path / "cpu.max") == 1
    finally:
        os.sched_setaffinity(0, before)
