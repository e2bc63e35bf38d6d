"""Fixtures of the tests without a real server.

Large libraries are imported by the functions that need them: the process that hands out tests needs none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from sentriton import cli
from sentriton.tokenization import TextTokenizer

LONGEST = 8
# Takes the words of a command line; returns its exit code, output and errors.
Command = Callable[..., tuple[object, str, str]]

# A machine with other work is slow to make an example, and so is one that measures coverage: no fault of the code.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RoBERTa, mean pooling that leaves the prompt out, Dense, Normalize."""
    import torch
    from sentence_transformers.base.modules import Dense

    from tests.checkpoints import make_checkpoint

    torch.manual_seed(3)
    dense = Dense(32, 12, activation_function=torch.nn.GELU())
    return make_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), include_prompt=False, further_modules=[dense], normalize=True
    )


@pytest.fixture(scope="session")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported; it is not changed."""
    from sentriton_server.export import export

    folder = tmp_path_factory.mktemp("exported") / "repository"
    export(checkpoint, folder, device="cpu")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A folder that an export may write, alone in its parent folder: nothing else may be there afterwards."""
    parent = tmp_path / "target"
    parent.mkdir()
    yield parent / "repository"
    assert {path.name for path in parent.iterdir()} <= {"repository"}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`sentriton` in this process, which spares a start of half a second."""

    def run(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["sentriton", *words])
        monkeypatch.setattr("os.dup2", lambda *descriptors: None)  # standard output is pytest's
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def transformers_tokenizer() -> Any:
    """The tokenizer of the tests as transformers reads it."""
    from tests.checkpoints import make_tokenizer

    return make_tokenizer()


@pytest.fixture(scope="session")
def text_tokenizer(transformers_tokenizer: Any) -> TextTokenizer:
    """The same as the client's tokenizer, for texts of at most `LONGEST` tokens."""
    from sentriton_server.checkpoint import read_tokenizer

    return TextTokenizer(read_tokenizer(transformers_tokenizer, LONGEST).to_str())


@pytest.fixture(scope="session")
def library() -> None:
    """The encoder's operators, compiled and loaded."""
    from sentriton_server.encoder.operators import OperatorsUnavailable, build_library, load_library

    try:
        load_library(build_library().parent)
    except OperatorsUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(params=["AVX-512", "AVX2"])
def instructions(request: pytest.FixtureRequest, library: None) -> Iterator[None]:
    """Orders and computes by this instruction set."""
    import torch

    try:
        torch.ops.sentriton.use_instructions(request.param)
    except RuntimeError:
        pytest.skip(f"this processor has no {request.param}")
    yield
    torch.ops.sentriton.use_instructions("")
