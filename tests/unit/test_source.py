"""The argument of `serve`: a repository, or a checkpoint, which is exported once per content."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sentriton_server.checkpoint import CheckpointError
from sentriton_server.choices import ExportError
from sentriton_server.encoder.operators import OperatorsUnavailable, build_library
from sentriton_server.export_cache import EXPORTS, entries, hold, remove
from sentriton_server.export_target import check_target
from sentriton_server.repository import RepositoryError, check_repository, read_config, read_operators
from sentriton_server.serving.source import prepare_repository
from tests.checkpoints import make_checkpoint
from tests.exports import files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_repository_is_served_as_it_is(repository: Path, cache: Path) -> None:
    assert prepare_repository(str(repository), precision=None, device="auto") == repository
    assert not cache.exists()


@pytest.mark.parametrize("by_link", [False, True], ids=["by its path", "by a link"])
def test_an_export_that_is_served_from_the_cache_is_held(cache: Path, tmp_path: Path, by_link: bool) -> None:
    export = cache / "repositories/model-int8-cpu-0123456789abcdef"
    (export / "embed_text").mkdir(parents=True)
    (export / "embed_text/config.pbtxt").touch()
    given = tmp_path / "link" if by_link else export
    if by_link:
        given.symlink_to(export)
    (entry,) = entries()
    assert prepare_repository(str(given), precision=None, device="auto") == given
    assert not remove(entry)
    assert export.is_dir()


@pytest.mark.usefixtures("own_cache")
def test_an_export_that_is_removed_at_once_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hold_too_late(repository: Path) -> bool:
        if repository.exists() and not removed:
            shutil.rmtree(repository)
            removed.append(repository)
        return hold(repository)

    removed: list[Path] = []
    monkeypatch.setattr("sentriton_server.serving.source.hold", hold_too_late)
    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    found = prepare_repository(str(folder), precision="fp32", device="cpu")
    assert removed == [found]
    assert check_repository(found).name == "checkpoint"


@pytest.mark.parametrize("options", [{"precision": "int8", "device": "auto"}, {"precision": None, "device": "cpu"}])
def test_a_repositorys_precision_and_device_cannot_be_changed(options: dict[str, Any], repository: Path) -> None:
    with pytest.raises(RepositoryError, match="fixed by the export"):
        prepare_repository(str(repository), **options)


@pytest.mark.usefixtures("own_cache")
def test_a_checkpoint_is_exported_once_for_its_content(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    said: list[str] = []
    first = prepare_repository(str(folder), precision="fp32", device="cpu", say=said.append)
    assert check_repository(first).name == "checkpoint"
    assert "using" not in " ".join(said)
    assert prepare_repository(str(folder), precision="fp32", device="cpu", say=said.append) == first
    assert said[-1] == f"using the export in {first}"
    make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1, seed=1)
    assert prepare_repository(str(folder), precision="fp32", device="cpu") != first


@pytest.mark.parametrize("when", ["reading", "embedding"])
@pytest.mark.usefixtures("own_cache")
def test_a_checkpoint_that_changes_during_its_export_is_not_kept(tmp_path: Path, when: str) -> None:
    def change(step: str) -> None:
        if step.startswith(when):
            make_checkpoint(tmp_path / "checkpoint", seed=1)

    folder = make_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="checkpoint changed while they were exported; wait until"):
        prepare_repository(str(folder), precision="fp32", device="cpu", say=change)
    assert entries([EXPORTS]) == []


@pytest.mark.usefixtures("own_cache")
def test_equal_checkpoints_of_two_names_have_an_export_each(tmp_path: Path) -> None:
    made = make_checkpoint(tmp_path / "made")
    for name in ("one/same", "other/same"):
        folder = shutil.copytree(made, tmp_path / f"models--{name.replace('/', '--')}/snapshots/{'0' * 40}")
        found = prepare_repository(str(folder), precision="fp32", device="cpu")
        assert check_repository(found).name == name


@pytest.mark.usefixtures("own_cache")
def test_another_number_of_cores_makes_another_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    for cores in (2, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        found = prepare_repository(str(folder), precision="fp32", device="cpu")
        assert read_config(found, "encoder").instance_group[0].count == cores


@pytest.mark.usefixtures("own_cache")
def test_a_large_encoder_has_one_export_for_any_number_of_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentriton_server.export.SMALL_ENCODER_PARAMETERS", 1_000)
    folder, found = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1), set()
    for cores in (2, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        found.add(prepare_repository(str(folder), precision="fp32", device="cpu"))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": "fp16"}, "precision 'fp16' is not available on cpu"),
        ({"operators": "mine"}, "operators 'mine' are unknown"),
        ({"check_on": "gpu"}, "cannot be checked on a GPU"),
    ],
)
def test_wrong_options_are_reported_before_the_checkpoint_is_fetched(wrong: dict[str, str], message: str) -> None:
    options: dict[str, Any] = {"precision": "fp32", "device": "cpu", **wrong}
    with pytest.raises(ExportError, match=message):
        prepare_repository("someone/somewhere", **options)


@pytest.mark.usefixtures("own_cache")
def test_other_parity_sentences_make_another_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    first = prepare_repository(str(folder), precision="fp32", device="cpu")
    changed = tmp_path / "parity_sentences.txt"
    changed.write_text("One sentence.\n" * 8, encoding="utf-8")
    monkeypatch.setattr("sentriton_server.serving.source.PARITY_SENTENCES", changed)
    assert prepare_repository(str(folder), precision="fp32", device="cpu") != first


def test_an_export_without_the_operators_is_made_again_where_they_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        compiled = build_library()
    except OperatorsUnavailable as error:
        pytest.skip(str(error))
    folder = str(make_checkpoint(tmp_path / "made", num_attention_heads=1))  # its head size of 32 suits the operators
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    first = prepare_repository(folder, precision="int8", device="cpu")
    assert read_operators(first) == "torch"
    shutil.copytree(compiled.parent, tmp_path / "operators" / compiled.parent.name)
    second = prepare_repository(folder, precision="int8", device="cpu")
    assert read_operators(second) == "sentriton"
    assert prepare_repository(folder, precision="int8", device="cpu", operators="torch") not in (first, second)


@pytest.mark.usefixtures("cache")
def test_a_full_triton_gets_an_export_with_torchs_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(make_checkpoint(tmp_path / "made", num_attention_heads=1))
    triton, said = tmp_path / "tritonserver", list[str]()
    triton.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    repository = prepare_repository(folder, precision="int8", device="cpu", say=said.append)
    assert read_operators(repository) == "torch"
    assert said[0] == f"operators torch (auto: the libtorch backend of {triton} cannot load sentriton's)"


@pytest.mark.usefixtures("own_cache")
def test_of_two_exports_at_once_for_serve_the_first_is_kept(tmp_path: Path) -> None:
    def export_the_first(step: str) -> None:
        said.append(step)
        if step.startswith("comparing"):
            kept = prepare_repository(str(folder), precision="fp32", device="cpu")
            before.update(files(kept))

    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    said: list[str] = []
    before: dict[str, str] = {}
    found = prepare_repository(str(folder), precision="fp32", device="cpu", say=export_the_first)
    # A server runs from the first: the second has another key.
    assert files(found) == before != {}
    assert said[-1] == f"using the export in {found}"
    assert [path.name for path in found.parent.iterdir()] == [found.name]


@pytest.mark.usefixtures("own_cache")
def test_an_export_that_ends_between_the_check_and_the_move_of_another_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_and_lose(repository: Path, overwrite: bool) -> None:
        check_target(repository, overwrite)
        if repository.parent.name == EXPORTS and not before:
            before.update({"": ""})
            before.update(files(prepare_repository(str(folder), precision="fp32", device="cpu")))

    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    before: dict[str, str] = {}
    monkeypatch.setattr("sentriton_server.export_target.check_target", check_and_lose)
    found = prepare_repository(str(folder), precision="fp32", device="cpu")
    assert {"": "", **files(found)} == before != {"": ""}
    assert [path.name for path in found.parent.iterdir()] == [found.name]
