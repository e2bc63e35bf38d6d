"""The compilation of the encoder's operators."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sentriton_server.encoder import operators
from sentriton_server.encoder.operators import OperatorsUnavailable, build_library
from sentriton_server.encoder.operators.__main__ import main as prepare


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    try:
        build_library()
    except OperatorsUnavailable as error:
        pytest.skip(str(error))


def test_without_a_compiler_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorsUnavailable, match=r"no C\+\+ compiler is installed; install g\+\+"):
        build_library()


def test_a_library_is_compiled_with_torchs_layout_and_again_with_other_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/commands\nfor output; do :; done\n: > "$output"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    first = build_library()
    compiled, _ = (tmp_path / "commands").read_text().splitlines()
    assert f" -D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())} " in compiled
    monkeypatch.setattr(operators, "_COMPILE", (*operators._COMPILE, "-g"))
    assert build_library() != first


def test_a_library_of_the_environment_needs_no_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = build_library()
    monkeypatch.setattr(operators, "PREPARED_OPERATORS", tmp_path / "prepared")
    prepare()
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    prepared = build_library()
    assert prepared == tmp_path / "prepared" / compiled.parent.name / operators.LIBRARY
    assert prepared.read_bytes() == compiled.read_bytes()
    prepare()
    assert capsys.readouterr().out == f"prepared {prepared}\n" * 2
    monkeypatch.setattr(operators, "PREPARED_OPERATORS", tmp_path / "others")
    with pytest.raises(SystemExit, match=r"error: no C\+\+ compiler is installed"):
        prepare()


def test_a_library_is_the_same_wherever_it_is_compiled() -> None:
    """The library names no folder, so that a process may load the copies of exports from two installations."""
    library = build_library().read_bytes()
    for folder in (Path(operators.__file__).parent, Path(torch.__file__).parent):
        assert str(folder).encode() not in library


def test_without_torchs_headers_the_reason_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch/__init__.py"))
    with pytest.raises(OperatorsUnavailable, match=r"no headers in .*/torch/include; reinstall torch"):
        build_library()


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'layer.cpp:1: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OperatorsUnavailable, match=r"the C\+\+ compiler failed: layer.cpp:1: error: no such thing"):
        build_library()
    assert not list((tmp_path / "operators").rglob(operators.LIBRARY))
