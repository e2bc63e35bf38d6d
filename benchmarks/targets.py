"""The servers of `benchmarks.online`, their requests and their mean batch sizes."""

from __future__ import annotations

import dataclasses
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.callers import Target
from benchmarks.padded import MODEL as PADDED_MODEL
from benchmarks.padded import add_padded_model, padded_request
from benchmarks.peers import PEERS, Job, infinity_service
from sentriton import SentenceEncoder
from sentriton.protocol import tokens_request
from sentriton.tokenization import TextTokenizer, pack_rows
from sentriton_server.export import export
from sentriton_server.repository import record_files
from sentriton_server.serving import ServerSettings, TritonServer

SENTRITON, PADDED = "Sentriton", "padded repository"
INFINITY = {"torch": "infinity", "optimum": "infinity-optimum"}


@dataclasses.dataclass(frozen=True)
class Service:
    """A server under load. `batches` returns its numbers of computed rows and batches, or is None."""

    label: str
    target: Target
    batches: Callable[[], tuple[float, float]] | None = None


@contextmanager
def triton(job: Job, padded: bool) -> Iterator[tuple[SentenceEncoder, list[Service]]]:
    """One Triton with Sentriton's models and, if `padded`, the usual repository's model, with rows as long as the
    longest sentence. Also yields Sentriton's client.
    """
    repository = job.scratch / "repository"
    export(job.checkpoint, repository, precision=job.precision, device=job.device)
    tokenizer = TextTokenizer((repository / "assets/1/tokenizer.json").read_text(encoding="utf-8"))
    rows = tokenizer.tokenize(job.sentences)
    longest = max(map(len, rows))
    if padded:
        add_padded_model(repository, job.checkpoint, longest)
        record_files(repository)
    with (
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
        SentenceEncoder(server.url, timeout_s=3600, priority="bulk") as encoder,
    ):
        services = [
            Service(
                SENTRITON,
                token_requests(server.url, rows),
                lambda: counters(server, "sentriton_rows_total", "sentriton_batches_total"),
            )
        ]
        if padded:
            requests = [padded_request(row, longest).SerializeToString() for row in rows]
            services.append(
                Service(
                    PADDED,
                    Target(server.url, requests),
                    lambda: counters(server, "nv_inference_count", "nv_inference_exec_count", PADDED_MODEL),
                )
            )
        yield encoder, services


def token_requests(url: str, rows: list[list[int]]) -> Target:
    """Requests of one row each, as from Sentriton's client."""
    return Target(url, [tokens_request(pack_rows([row])).SerializeToString() for row in rows])


def counters(server: TritonServer, rows: str, batches: str, model: str | None = None) -> tuple[float, float]:
    """Two of the server's metrics, of one model or summed over all models."""
    totals = {rows: 0.0, batches: 0.0}
    text = urllib.request.urlopen(server.metrics_url).read().decode()
    for name, labels, value in re.findall(r"^(\w+)\{(.*?)\} (\S+)$", text, re.MULTILINE):
        if name in totals and (model is None or f'model="{model}"' in labels):
            totals[name] += float(value)
    return totals[rows], totals[batches]


@contextmanager
def infinity(job: Job, engines: list[str]) -> Iterator[list[Service]]:
    """Infinity's servers, one for each engine and batch size. Raises `SystemExit` if Infinity is not installed."""
    requests = [infinity_service.embeddings_request([sentence]) for sentence in job.sentences]
    services = []
    with ExitStack() as stack:
        for peer in (PEERS[INFINITY[engine]] for engine in engines):
            if not peer.python.exists():
                raise SystemExit(f"no {peer.python} for --infinity; run: make peers")
            if job.precision not in peer.precisions["cpu"]:
                raise SystemExit(f"{peer.label} has no {job.precision}; it has {', '.join(peer.precisions['cpu'])}")
            its_job = dataclasses.replace(job, batch_sizes=peer.batch_sizes, options=peer.options)
            for size, url in stack.enter_context(infinity_service.serve(its_job)).items():
                services.append(Service(f"{peer.label}, batches of {size}", Target(url, requests)))
        yield services
