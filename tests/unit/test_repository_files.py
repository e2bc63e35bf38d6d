"""A repository is served only with exactly the exported files, and a damaged cached export is replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sentriton_server.private_folder import private_folder
from sentriton_server.repository import (
    CHECKSUMS,
    MANIFEST,
    REQUIRED_FILES,
    RepositoryError,
    check_repository,
    read_config,
    read_key,
    record_files,
    remove_bytecode,
    write_configs,
)
from sentriton_server.serving import prepare_repository
from tests.checkpoints import make_checkpoint
from tests.conftest import ROOT
from tests.example_manifest import make_manifest
from tests.snippets import blocks, command_lines


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of an export, with other contents."""
    folder = tmp_path / "repository"
    write_configs(
        folder, hidden_size=8, dimension=4, max_seq_length=16, token_embeddings_dtype="TYPE_FP32", device="cpu"
    )
    for file in REQUIRED_FILES:
        (folder / file).write_text("content", encoding="utf-8")
    (folder / MANIFEST).write_text(make_manifest().to_json(), encoding="utf-8")
    record_files(folder)
    return folder


def test_every_file_is_covered(repository: Path) -> None:
    check_repository(repository)
    files = [path for path in repository.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        name = path.relative_to(repository).as_posix()
        with pytest.raises(RepositoryError, match="export it again") as raised:
            check_repository(repository)
        assert name in str(raised.value) or name == CHECKSUMS
        path.write_bytes(content)
    check_repository(repository)


@pytest.mark.parametrize("extra", ["embed_tokens/1/json.py", "another/config.pbtxt", "encoder/2/model.pt", "notes.txt"])
def test_a_file_too_many_is_named(extra: str, repository: Path) -> None:
    (repository / extra).parent.mkdir(parents=True, exist_ok=True)
    (repository / extra).write_text("x", encoding="utf-8")
    with pytest.raises(RepositoryError, match=f"{extra} does not belong to the export; remove it or export it again"):
        check_repository(repository)


def test_an_empty_folder_too_many_is_named(repository: Path) -> None:
    (repository / "encoder/2").mkdir()  # Triton would take it for the latest version
    with pytest.raises(RepositoryError, match="encoder/2 does not belong to the export"):
        check_repository(repository)


def test_a_link_too_many_is_named(repository: Path) -> None:
    (repository / "another").symlink_to(repository / "encoder")
    with pytest.raises(RepositoryError, match="another does not belong to the export"):
        check_repository(repository)


def test_a_file_that_is_missing_is_named(repository: Path) -> None:
    (repository / "pooling/1/head.py").unlink()
    with pytest.raises(RepositoryError, match=r"pooling/1/head\.py is missing; export it again"):
        check_repository(repository)


def test_the_commands_of_the_guide_change_a_limit(repository: Path) -> None:
    (block,) = (each for each in blocks(ROOT / "docs/serving.md", "console") if "WAITING_ROWS" in each.code)
    edit, checksum = command_lines(block)
    subprocess.run(["bash", "-c", edit], cwd=repository, check=True, timeout=10)
    with pytest.raises(RepositoryError, match=r"embed_tokens/config\.pbtxt is not the file that was exported"):
        check_repository(repository)
    subprocess.run(["bash", "-c", checksum], cwd=repository, check=True, timeout=10)
    check_repository(repository)
    limits = read_config(repository, "embed_tokens").parameters
    assert limits["WAITING_ROWS"].string_value == "16384"


def test_bytecode_is_no_part_of_an_export_and_is_removed(repository: Path) -> None:
    bytecode = repository / "pooling/1/__pycache__"
    bytecode.mkdir()
    (bytecode / "head.cpython-311.pyc").write_bytes(b"code that no checksum covers")
    check_repository(repository)
    remove_bytecode(repository)
    assert not bytecode.exists()


@pytest.mark.parametrize("damaged", ["assets/1/golden.json", "embed_text/config.pbtxt", MANIFEST, CHECKSUMS])
@pytest.mark.usefixtures("own_cache")
def test_a_damaged_export_that_is_kept_is_made_again(damaged: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    said: list[str] = []
    first = prepare_repository(str(folder), precision="fp32", device="cpu")
    fingerprint = check_repository(first).fingerprint
    (first / damaged).write_bytes(b"\xff")
    assert prepare_repository(str(folder), precision="fp32", device="cpu", say=said.append) == first
    assert damaged in said[0]
    assert "exporting the checkpoint again" in said[0]
    assert "using the export" not in " ".join(said)
    assert check_repository(first).fingerprint == fingerprint
    assert [path.name for path in first.parent.iterdir()] == [first.name]


@pytest.mark.usefixtures("own_cache")
def test_a_damaged_export_that_another_serve_has_made_again_is_kept(tmp_path: Path) -> None:
    def make_again(step: str) -> None:
        said.append(step)
        if step.endswith("exporting the checkpoint again"):
            prepare_repository(str(folder), precision="fp32", device="cpu")
            keys.append(read_key(first))

    folder = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    said: list[str] = []
    keys: list[int] = []
    first = prepare_repository(str(folder), precision="fp32", device="cpu")
    (first / MANIFEST).write_bytes(b"\xff")
    assert prepare_repository(str(folder), precision="fp32", device="cpu", say=make_again) == first
    assert [read_key(first)] == keys
    assert said[-1] == f"using the export in {first}"


_EXPORT = """
import sys, time
from pathlib import Path
from sentriton_server.private_folder import private_folder

with private_folder(Path(sys.argv[1]), ".export-") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_drafts_of_killed_exports_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    (tmp_path / ".export-of-somebody").mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", _EXPORT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    drafts = []
    for process in processes:
        assert process.stdout is not None
        drafts.append(Path(process.stdout.readline().strip()))
    dead, living = drafts
    try:
        processes[0].kill()
        processes[0].wait()
        assert dead.is_dir()
        with private_folder(tmp_path, ".export-") as own:
            assert own.is_dir()
            assert not dead.exists()
            assert living.is_dir()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert (tmp_path / ".export-of-somebody").is_dir()
