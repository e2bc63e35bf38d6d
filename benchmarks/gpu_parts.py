"""The parts of `benchmarks.gpu`, each a function that measures one thing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from google.protobuf import text_format

from benchmarks import online
from benchmarks.chain import direct
from benchmarks.checkpoints import SIZES
from benchmarks.own_process import OwnProcess
from benchmarks.peers import Job, padded_service
from benchmarks.products import DTYPES, operations_per_token
from benchmarks.targets import Service
from sentriton import SentenceEncoder
from sentriton.errors import SentritonError
from sentriton.manifest import Manifest
from sentriton.tokenization import TextTokenizer
from sentriton_server.encoder.ragged import kernel_here, ragged_kernel
from sentriton_server.export import export
from sentriton_server.repository import read_config, record_files
from sentriton_server.serving import ServerSettings, TritonServer
from sentriton_server.serving.log import LogLine
from sentriton_server.serving.profile import read_profile

MEMORY = {"gpu": "of the GPU, all processes", "cpu": "resident, the server's processes"}
_ROUNDS = 3
_MOST_ROWS = 1 << 20  # of a batch: its tokens bound it
_RECOVERY_LIMIT_S = 90.0
_EXIT_LIMIT_S = 30.0
_EXIT_TIMEOUT_S = 5
_LOG_LINES = 30
_BATCH_SIZE = 64  # for sentence-transformers, since its default of 32 leaves a GPU idle


def require_gpu() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA GPU here; --device cpu runs the same on the CPU")


def operations(size: str, layers: int) -> float:
    """The operations of the matrix products for one token."""
    _, hidden, _, intermediate = SIZES[size]
    return operations_per_token(hidden, intermediate, layers)


def export_checkpoint(job: Job, repository: Path) -> tuple[Manifest, float]:
    """The manifest of an export, and its seconds."""
    started = time.perf_counter()
    manifest = export(job.checkpoint, repository, precision=job.precision, device=job.device)
    return manifest, time.perf_counter() - started


def best_rate(run: Callable[[], None], amount: float) -> float:
    """`amount` per second in the best round, after a warm-up round."""
    run()
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return amount / min(seconds)


def best_seconds(run: Callable[[], object], most_s: float) -> float:
    """The seconds of the best round. Rounds begin within `most_s`, after a warm-up round."""
    run()
    began, best = time.perf_counter(), float("inf")
    while best == float("inf") or time.perf_counter() - began < most_s:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def module_seconds(repository: Path, job: Job, least_s: float) -> float:
    """Seconds of the exported module alone for all sentences, in the scheduler's batches and without Triton."""
    batch_tokens = int(read_config(repository, "embed_tokens").parameters["MOST_BATCH_TOKENS"].string_value)
    loop = (direct, repository, job.sentences, _MOST_ROWS, job.device, batch_tokens)
    with closing(OwnProcess(*loop, variables=read_profile(job.device).environment)) as process:
        process.turn(0.0)
        return process.turn(least_s)


def with_encoders(repository: Path, number: int) -> Path:
    """A copy of the repository with this number of encoders per GPU."""
    copy = repository.with_name(f"{repository.name}-{number}")
    shutil.copytree(repository, copy)
    encoder, scheduler = (read_config(copy, model) for model in ("encoder", "embed_tokens"))
    encoder.instance_group[0].count = number
    scheduler.parameters["BATCHES_IN_FLIGHT"].string_value = str(number + 2)
    for config in (encoder, scheduler):
        (copy / config.name / "config.pbtxt").write_text(text_format.MessageToString(config))
    record_files(copy)
    return copy


@contextmanager
def serve(repository: Path) -> Iterator[tuple[TritonServer, SentenceEncoder]]:
    settings = ServerSettings(grpc_port=0, metrics_port=0, exit_timeout_s=_EXIT_TIMEOUT_S)
    log: deque[LogLine] = deque(maxlen=_LOG_LINES)
    with (
        TritonServer(repository, settings, on_log=log.append) as server,
        SentenceEncoder(server.url, timeout_s=600, priority="bulk") as encoder,
    ):
        yield server, encoder
        ended = time.perf_counter()
    if time.perf_counter() - ended > _EXIT_TIMEOUT_S:
        print("Triton stopped late:", *(line.message for line in log), sep="\n  ", file=sys.stderr)


def tokens_per_second(encoder: SentenceEncoder, sentences: list[str], seconds: float) -> float:
    """Tokens per second of the best round over `sentences`."""
    tokens = sum(map(len, encoder.token_ids(sentences)))
    return tokens / best_seconds(lambda: encoder.encode(sentences), seconds)


def memory_bytes(device: str) -> int:
    """The memory in use: of the first GPU by all processes, or of this process's children."""
    if device == "gpu":
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(0)
        return int(total - free)
    return sum(child.memory_info().rss for child in psutil.Process().children(recursive=True))


def call_single(pool: Any, service: Service, number: int, arguments: Namespace) -> dict[str, Any]:
    """A turn of `number` callers of single sentences: a row of `benchmarks.online`."""
    return online.call(pool, service, number, arguments)


def recovery_s(repository: Path, sentences: list[str]) -> float:
    """Seconds from the encoder's death until `sentriton serve` answers again."""
    command = [str(Path(sys.executable).with_name("sentriton")), "serve", str(repository)]
    options = ["--grpc-port", "0", "--metrics-port", "0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = line.split(" at ", 1)[1].split(" ", 1)[0]
            with SentenceEncoder(url, timeout_s=30) as encoder:
                encoder.encode(sentences)
                for child in psutil.Process(process.pid).children(recursive=True):
                    if any(argument.startswith("encoder_0") for argument in child.cmdline()):
                        child.kill()
                return _seconds_until_answered(encoder, sentences)
        finally:
            process.terminate()
            try:
                process.wait(_EXIT_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _seconds_until_answered(encoder: SentenceEncoder, sentences: list[str]) -> float:
    started, failed = time.perf_counter(), False
    while time.perf_counter() - started < _RECOVERY_LIMIT_S:
        try:
            encoder.encode(sentences)
        except SentritonError:
            failed = True
        else:
            if failed or time.perf_counter() - started > 1:
                return time.perf_counter() - started
        time.sleep(0.1)
    raise RuntimeError(f"the server did not answer again within {_RECOVERY_LIMIT_S:.0f} s")


def count_tokens(job: Job) -> int:
    tokenizer = TextTokenizer(_tokenizer_json(job.checkpoint))
    return sum(map(len, tokenizer.tokenize(job.sentences)))


def _tokenizer_json(checkpoint: Path) -> str:
    return next(checkpoint.rglob("tokenizer.json")).read_text(encoding="utf-8")


def sentence_transformers(job: Job) -> Iterator[tuple[str, Callable[[], Any]]]:
    """sentence-transformers on the same device, with each available kind of attention: torch's, and on a GPU
    FlashAttention without padding, if its package is installed.
    """
    from sentence_transformers import SentenceTransformer

    where = "cuda" if job.device == "gpu" else "cpu"
    for attention in ("sdpa", "flash_attention_2") if job.device == "gpu" else ("sdpa",):
        options = {"dtype": DTYPES[job.precision], "attn_implementation": attention}
        try:
            model = SentenceTransformer(str(job.checkpoint), device=where, model_kwargs=options)
        except (ImportError, ValueError) as error:
            print(f"sentence-transformers has no {attention} here: {error}", file=sys.stderr)
            continue
        yield attention, lambda model=model: model.encode(job.sentences, batch_size=_BATCH_SIZE)  # type: ignore[misc]


@contextmanager
def padded(job: Job) -> Iterator[Callable[[list[str]], Any]]:
    """The usual padded repository on the same device."""
    with padded_service.load(job) as encode:
        yield lambda sentences: encode(sentences, _BATCH_SIZE // 2)


def kernel_name(precision: str, size: str) -> str:
    """This GPU's kernel for ragged rows."""
    _, hidden, heads, _ = SIZES[size]
    dtype = DTYPES[precision]
    probe = torch.empty([1, heads, 16, hidden // heads], dtype=dtype, device="cuda")
    return kernel_here(ragged_kernel(dtype, hidden // heads), probe) or "padded"
