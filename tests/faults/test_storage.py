"""Disks and shared memory that are full, on file systems that only the test sees."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.commands import SENTRITON
from tests.faults.conftest import BUSY_RECOVERY_S, Served, check, note, serve
from tests.faults.load import SENTENCES, Load
from tests.waiting import until

# A mount namespace with a small file system at $1, and $2 run in it with the rest as its arguments.
PRIVATE = ("unshare", "--map-root-user", "--mount", "sh", "-ec")
SMALL = 'mount -t tmpfs -o size="$2" tmpfs "$1"; folder=$1; shift 2; '


def in_small_folder(folder: Path, size: str, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script, which knows `$folder`, where this folder is a file system of `size`."""
    command = [*PRIVATE, SMALL + script, "sh", str(folder), size, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module", autouse=True)
def _namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    tried = in_small_folder(tmp_path_factory.mktemp("small"), "1m", "true")
    if tried.returncode != 0:
        pytest.skip(f"needs mount namespaces, which this host does not allow: {tried.stderr.strip()}")


def test_export_to_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    script = '"$@" "$folder/new/repository" || code=$?; find "$folder"; exit $code'
    done = in_small_folder(tmp_path, "8m", script, SENTRITON, "export", BUNDLED_CHECKPOINT)
    assert done.returncode == 1, done.stderr
    assert done.stdout.split() == [str(tmp_path)], "something was left behind"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert "No space left on device" in last
    assert "Traceback" not in done.stderr
    note("export to a full disk", last)


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_embed_to_a_full_disk_goes_on_when_there_is_room(
    ending: str, served: Served, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    copies = 96  # 6,144 rows: three chunks
    (tmp_path / "in.txt").write_text("".join(f"{sentence}\n" for sentence in SENTENCES * copies), encoding="utf-8")
    folder, kept = tmp_path / "disk", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    output = folder / f"out{ending}"
    room = {".npy": "3m", ".jsonl": "18m", ".parquet": "3m"}[ending]  # for the first chunk and a part of the second
    script = (
        f'! "$@" || exit 3; ls "$folder"; mount -o remount,size=200m "$folder"; "$@"; cp "$folder/out{ending}" {kept}'
    )
    arguments = ("embed", "--input", tmp_path / "in.txt", "--output", output, "--url", served.url, "--json")
    done = in_small_folder(folder, room, script, SENTRITON, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"error: cannot write {output}: " in done.stderr
    assert "No space left on device" in done.stderr
    assert "rows are kept" in done.stderr
    *listed, summary = done.stdout.splitlines()
    assert f"out{ending}" not in listed, "half a file has the name of a whole one"
    figures = json.loads(summary)
    assert (figures["rows"], figures["resumed"] > 0) == (64 * copies, True)
    np.testing.assert_allclose(read_embeddings(kept / f"out{ending}"), np.tile(expected, (copies, 1)), atol=1e-5)


def read_embeddings(path: Path) -> NDArray[np.float32]:
    if path.suffix == ".npy":
        array: NDArray[np.float32] = np.load(path)
        return array
    if path.suffix == ".jsonl":
        rows = [json.loads(line)["embedding"] for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(path)["embedding"].to_pylist()
    return np.array(rows, dtype=np.float32)


def test_a_full_dev_shm(repository: Path, expected: NDArray[np.float32]) -> None:
    script = 'mount -t tmpfs -o size=200m tmpfs /dev/shm; exec "$@"'
    with serve(repository, prefix=(*PRIVATE, script, "sh")) as served, Load(served.url, expected) as load:
        time.sleep(0.5)
        # The launcher's own view of the file system, seen from outside.
        filler = Path(f"/proc/{served.launcher.pid}/root/dev/shm/filler")
        with pytest.raises(OSError, match="No space left on device"):
            filler.write_bytes(bytes(250 << 20))
        large = ["가 " * 400] * 16  # its tokens do not fit into the memory that the stubs hold already
        with SentenceEncoder(served.url, timeout_s=60) as encoder:
            time.sleep(3)
            filler.unlink()
            emptied = time.monotonic()
            assert encoder.encode(large).shape == (len(large), encoder.manifest.dimension)
        recovery_s = load.recovery_s(emptied)
    check("full /dev/shm for 3 s", load, recovery_s)


def test_a_full_temporary_folder_does_not_end_a_server(
    repository: Path, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    script = 'mount -t tmpfs -o size=20m tmpfs "$TMPDIR"; exec "$@"'
    with (
        serve(repository, prefix=(*PRIVATE, script, "sh"), TMPDIR=str(tmp_path)) as served,
        Load(served.url, expected) as load,
    ):
        time.sleep(0.5)  # opening an encoder is not repeated
        filler = Path(f"/proc/{served.launcher.pid}/root{tmp_path}/filler")
        with pytest.raises(OSError, match="No space left on device"):
            filler.write_bytes(bytes(30 << 20))
        served.process("encoder").kill()
        killed = time.monotonic()
        until(lambda: served.restarts() == 1, BUSY_RECOVERY_S, f"no restart: {served.said}")
        recovery_s = load.recovery_s(killed)
        recovery_s = max(recovery_s, time.monotonic() - killed)
    check("SIGKILL of the encoder's stub, $TMPDIR full", load, recovery_s)
