"""Does a pod with the default limits serve rows of 8,192 tokens, and in how much memory?

    .venv/bin/python -m benchmarks.long_rows [--encoder xlm-roberta] [--layers 2] [--hidden 768] [--tokens 8192]
        [--precision fp32] [--rows 1 4]

The server has the memory, /dev/shm, threads and settings of a pod of docker/kubernetes/base. docker/compose.yaml has
the same /dev/shm. The server may write only to /dev/shm and /tmp and has no capabilities, so the benchmark needs root.
Weights are random, and the vocabulary has 250,002 tokens.

Each workload is sent once: rows in one call, rows of one caller each, and one row for its token embeddings.
`memory_mib` is the peak of the pod's memory that the kernel cannot drop, including /dev/shm. `shm_mib` is the peak of
/dev/shm.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.checkpoints import save_checkpoint
from benchmarks.long_texts import make_encoder
from benchmarks.report import print_report
from benchmarks.workload import hardware
from sentriton import SentenceEncoder
from sentriton_server.encoder import FAMILIES
from sentriton_server.export import export
from sentriton_server.parity import ExportedModel

_MIB = 1 << 20
_SAMPLE_S = 0.02
_BASE = Path(__file__).parents[1] / "docker/kubernetes/base"
_VOCAB_SIZE = 250_002
_CGROUPS = Path("/sys/fs/cgroup")
# For cgroups v2 and v1: the folder of groups, the limit, and the memory that cannot be dropped.
_IN_ONE_HIERARCHY = (_CGROUPS, "memory.max", ("anon", "shmem"))
_BY_CONTROLLER = (_CGROUPS / "memory", "memory.limit_in_bytes", ("rss", "shmem"))
_SERVE = """
echo $$ > "$1/cgroup.procs"
mount -t tmpfs -o "size=$2" tmpfs /dev/shm
mount --bind "$1" "$3"
mount --bind /tmp /tmp
mount -o remount,bind,ro /
shift 3
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=FAMILIES, default="xlm-roberta")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4])
    return parser


def main() -> None:
    arguments = parser().parse_args()
    if os.geteuid() != 0:
        raise SystemExit("the limits of a pod need root; run this as root")
    pod = Pod.of_base()
    with tempfile.TemporaryDirectory() as scratch:
        repository = _exported(arguments, Path(scratch))
        texts = [f"{number} 한국어 문장 임베딩 the quick brown fox " * (arguments.tokens // 8) for number in range(10)]
        expected = ExportedModel(repository, "cpu").encode(texts[:1])
        with pod.serving(repository, Path(scratch)) as (url, watch), SentenceEncoder(url, timeout_s=3600) as encoder:
            assert [len(row) for row in encoder.token_ids(texts[:1])] == [arguments.tokens]
            assert np.allclose(encoder.encode(texts[:1]), expected, atol=1e-5)
            rows = [{"work": "started and warm", "seconds": None, **watch.peaks()}]
            for count in arguments.rows:
                sent = [texts[number % len(texts)] for number in range(count)]
                rows.append(watch.measured(f"{count} in one call", lambda sent=sent: encoder.encode(sent)))
            for count in arguments.rows[1:]:
                rows.append(watch.measured(f"{count} callers", lambda count=count: _together(encoder, texts, count)))
            embed = lambda: encoder.encode(texts[:1], output_value="token_embeddings")  # noqa: E731
            rows.append(watch.measured("token embeddings of 1", embed))
    title = (
        f"Rows of {arguments.tokens:,} tokens, {arguments.encoder}, {arguments.layers} layers of {arguments.hidden}, "
        f"{arguments.precision}, {pod.memory // _MIB:,} MiB of memory, {pod.shared_memory // _MIB:,} MiB of /dev/shm, "
        f"{hardware()}"
    )
    print_report("long_rows", title, rows)


def _exported(arguments: argparse.Namespace, folder: Path) -> Path:
    sizes = {"vocab_size": _VOCAB_SIZE, "num_hidden_layers": arguments.layers, "hidden_size": arguments.hidden}
    encoder = make_encoder(arguments.encoder, arguments.tokens, **sizes)
    checkpoint = save_checkpoint(encoder, folder, "long", max_seq_length=arguments.tokens)
    export(checkpoint, folder / "repository", precision=arguments.precision, device="cpu")
    return folder / "repository"


def _together(encoder: SentenceEncoder, texts: list[str], callers: int) -> None:
    with ThreadPoolExecutor(callers) as pool:
        for answer in [pool.submit(encoder.encode, [texts[number % len(texts)]]) for number in range(callers)]:
            answer.result()


class Pod:
    """The limits of a container of the base: `memory` and `shared_memory` [bytes], and its environment."""

    def __init__(self, memory: int, shared_memory: int, environment: dict[str, str]) -> None:
        self.memory = memory
        self.shared_memory = shared_memory
        self.environment = environment

    @classmethod
    def of_base(cls) -> Pod:
        deployment = yaml.safe_load((_BASE / "deployment.yaml").read_text(encoding="utf-8"))["spec"]["template"]["spec"]
        generator = yaml.safe_load((_BASE / "kustomization.yaml").read_text(encoding="utf-8"))["configMapGenerator"][0]
        resources = deployment["containers"][0]["resources"]
        (shm,) = (volume["emptyDir"] for volume in deployment["volumes"] if volume["name"] == "shm")
        settings = dict(literal.split("=", 1) for literal in generator["literals"])
        # Only this machine may reach the server.
        left_out = ("SENTRITON_HOST", "SENTRITON_METRICS_HOST", "SENTRITON_READY_FILE")
        environment = {name: value for name, value in settings.items() if name not in left_out}
        environment["OMP_NUM_THREADS"] = resources["requests"]["cpu"]
        return cls(_bytes(resources["limits"]["memory"]), _bytes(shm["sizeLimit"]), environment)

    @contextmanager
    def serving(self, repository: Path, scratch: Path) -> Iterator[tuple[str, Watch]]:
        """`sentriton serve` within the limits: its address, and its usage."""
        root, limit, kinds = _IN_ONE_HIERARCHY if (_CGROUPS / "cgroup.controllers").exists() else _BY_CONTROLLER
        group = root / f"sentriton-long-rows-{os.getpid()}"
        group.mkdir()
        (group / limit).write_text(str(self.memory))
        command = ["unshare", "--mount", "sh", "-ec", _SERVE, "sh", str(group), str(self.shared_memory), str(root)]
        command += [str(Path(sys.executable).with_name("sentriton")), "serve", str(repository)]
        command += ["--grpc-port", "0", "--metrics-port", "0"]
        environment = {**os.environ, **self.environment, "TMPDIR": str(scratch)}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            url = _address(process)
            with Watch(process.pid, group / "memory.stat", kinds) as watch:
                yield url, watch
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=60)
            group.rmdir()
        if "canary" in output or "again" in output:
            raise SystemExit(f"the server was restarted, or its canary failed:\n{output}")


class Watch:
    """Polls the memory of a control group and the /dev/shm of its process."""

    def __init__(self, process_id: int, statistics: Path, kinds: tuple[str, ...]) -> None:
        self._shared_memory = f"/proc/{process_id}/root/dev/shm"
        self._statistics = statistics
        self._kind = re.compile(rf"^(?:{'|'.join(kinds)}) (\d+)$", re.MULTILINE)
        self._peaks = [0, 0]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def measured(self, name: str, work: Callable[[], object]) -> dict[str, Any]:
        self.peaks()
        started = time.monotonic()
        work()
        return {"work": name, "seconds": round(time.monotonic() - started, 1), **self.peaks()}

    def peaks(self) -> dict[str, int]:
        """The peaks since the last call."""
        memory, shared_memory = self._peaks
        self._peaks = [0, 0]
        return {"memory_mib": round(memory / _MIB), "shm_mib": round(shared_memory / _MIB)}

    def _look(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            room = os.statvfs(self._shared_memory)
            memory = sum(map(int, self._kind.findall(self._statistics.read_text(encoding="utf-8"))))
            seen = (memory, (room.f_blocks - room.f_bfree) * room.f_frsize)
            self._peaks = [max(pair) for pair in zip(self._peaks, seen, strict=True)]


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"serving \S+ at (\S+) ", line):
            return found[1]
    raise SystemExit(f"{shlex.join(map(str, process.args))} ended before it served")  # type: ignore[arg-type]


def _bytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) << 30


if __name__ == "__main__":
    main()
