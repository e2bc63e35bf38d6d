"""An export with Sentriton's operators, and without them if they are unavailable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sentriton_server import export as export_module
from sentriton_server.choices import ExportError
from sentriton_server.encoder import PRECISIONS, Precision, operators
from sentriton_server.encoder.operators import OperatorsUnavailable, build_library
from sentriton_server.encoder.packed import cpu_block_tokens
from sentriton_server.export import ParityError, export
from sentriton_server.parity import ParityReport
from sentriton_server.repository import MANIFEST, RepositoryError, check_repository, read_config
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.checkpoints import make_checkpoint


@pytest.fixture
def _library() -> None:
    try:
        build_library()
    except OperatorsUnavailable as error:
        pytest.skip(str(error))


with_library = pytest.mark.usefixtures("_library")


@with_library
def test_an_export_says_whose_operators_it_has(tmp_path: Path) -> None:
    repository, said = tmp_path / "repository", list[str]()
    export(BUNDLED_CHECKPOINT, repository, precision="int8", device="cpu", say=said.append)
    assert json.loads((repository / MANIFEST).read_bytes())["operators"] == "sentriton"
    assert "operators sentriton (auto: they are compiled and suit the encoder's sizes)" in said
    # The operators split any number of tokens, so their block of 2,048 or more must not enlarge a batch. They pad none.
    config = read_config(repository, "embed_tokens")
    suited = torch.ops.sentriton.suits(torch.int8)
    block_tokens = 1 if suited else cpu_block_tokens(read_config(repository, "encoder").output[0].dims[-1])
    assert config.parameters["BLOCK_TOKENS"].string_value == str(block_tokens)
    assert config.parameters["ALIKE_ROWS"].string_value == ("0" if suited else "1")
    library = repository / "encoder/1" / operators.LIBRARY
    library.write_bytes(library.read_bytes()[:-1])
    with pytest.raises(RepositoryError, match=f"encoder/1/{operators.LIBRARY} is not the file that was exported"):
        check_repository(repository)


def test_an_encoder_of_other_sizes_is_exported_with_torchs_operators(tmp_path: Path) -> None:
    checkpoint, repository, said = make_checkpoint(tmp_path), tmp_path / "exported/repository", list[str]()
    started = list[str]()
    with pytest.raises(ExportError, match=r"head size is .*; or use --operators torch"):
        export(checkpoint, repository, device="cpu", operators="sentriton", say=started.append)
    assert not any(message.startswith("embedding") for message in started)
    export(checkpoint, repository, device="cpu", say=said.append)
    assert json.loads((repository / MANIFEST).read_bytes())["operators"] == "torch"
    assert any(message.startswith("operators torch (auto: the head size is") for message in said)
    assert not (repository / "encoder/1" / operators.LIBRARY).exists()


@with_library
def test_a_checkpoint_that_misses_the_bound_with_them_is_exported_with_torchs_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miss(parity: ParityReport, precision: Precision) -> None:
        reports.append(parity)
        if len(reports) == 1:
            raise ParityError("they differ")

    reports, said = list[ParityReport](), list[str]()
    monkeypatch.setattr(export_module, "_require_parity", miss)
    checkpoint = make_checkpoint(tmp_path / "made", num_attention_heads=1)  # its head size of 32 suits the operators
    repository = tmp_path / "exported/repository"
    manifest = export(checkpoint, repository, precision="int8", device="cpu", say=said.append)
    assert said.count("operators torch (auto: with sentriton's, they differ)") == 1
    assert check_repository(repository) == manifest
    assert json.loads((repository / MANIFEST).read_bytes())["operators"] == "torch"
    assert not (repository / "encoder/1" / operators.LIBRARY).exists()
    assert [path.name for path in repository.parent.iterdir()] == ["repository"]


@with_library
@pytest.mark.parametrize("choice", ["auto", "sentriton"])
def test_a_checkpoint_that_misses_the_bound_either_way_is_refused(
    choice: str, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small, since it is exported up to five times: its head size of 32 suits the operators."""
    monkeypatch.setitem(PRECISIONS, "int8", replace(PRECISIONS["int8"], min_cosine=1.1))
    checkpoint, said = make_checkpoint(tmp_path / "made", num_attention_heads=1), list[str]()
    with pytest.raises(ParityError, match=r"int8 allows 1\.1"):
        export(checkpoint, target, precision="int8", device="cpu", operators=choice, say=said.append)
    assert any(message.startswith("operators torch (auto: with") for message in said) == (choice == "auto")
    assert sum("of the linear layers in bf16" in message for message in said) == len(export_module.BF16_SHARES)
    assert list(target.parent.iterdir()) == []


def test_operators_that_cannot_be_are_refused_before_the_checkpoint_is_read(tmp_path: Path) -> None:
    missing, repository = tmp_path / "checkpoint", tmp_path / "repository"
    with pytest.raises(ExportError, match="operators 'mine' are unknown; allowed are auto, sentriton, torch"):
        export(missing, repository, device="cpu", operators="mine")
    with pytest.raises(ExportError, match="operators sentriton are for a CPU, and the device is gpu"):
        export(missing, repository, device="gpu", check_on="cpu", operators="sentriton")
