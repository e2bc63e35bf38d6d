"""What does OpenAI's API cost compared with gRPC, for calls of 32 sentences?

    .venv/bin/python -m benchmarks.gateway [--checkpoint FOLDER] [--precision fp32] [--batch 32] [--callers 1 8]
        [--lengths klue|mixture] [--seconds 5] [--rounds 3] [--save FILE.json]

Each caller embeds its next sentences in one call and waits. `encode` calls the server, `HTTP` the gateway by httpx with
base64, `openai` the same by OpenAI's client. All take turns, and the best round of each counts. Server, gateway and
callers share the machine.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai

from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, hardware, spread_by_length
from sentriton import SentenceEncoder
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository

WARM_UP_S = 1.0
Call = Callable[[list[str]], object]


@contextmanager
def gateway_to(url: str) -> Iterator[str]:
    """A gateway for the server at `url`. Yields its address."""
    command = [str(Path(sys.executable).parent / "sentriton"), "gateway", "--url", url, "--gateway-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate()


def calls_per_s(call: Call, batches: list[list[str]], callers: int, seconds: float) -> float:
    """Answered calls per second of a number of callers, after a warm-up."""
    begin = time.monotonic() + WARM_UP_S
    end = begin + seconds

    def run(caller: int) -> int:
        answered = 0
        for batch in itertools.islice(itertools.cycle(batches), caller, None):
            call(batch)
            now = time.monotonic()
            answered += begin <= now < end
            if now >= end:
                return answered
        return answered

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(run, range(callers))) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sentences = spread_by_length(SENTENCES[arguments.lengths](32 * arguments.batch))
    batches = [sentences[start : start + arguments.batch] for start in range(0, len(sentences), arguments.batch)]
    repository = prepare_repository(arguments.checkpoint, precision=arguments.precision, device="cpu")
    best: dict[tuple[int, str], float] = {}
    with (
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
        gateway_to(server.url) as url,
        SentenceEncoder(server.url) as encoder,
        httpx.Client(base_url=url, timeout=60) as http,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60) as client,
    ):
        model = encoder.manifest.name

        def by_http(batch: list[str]) -> None:
            body = {"input": batch, "model": model, "encoding_format": "base64"}
            http.post("/v1/embeddings", json=body).raise_for_status().json()

        ways: dict[str, Call] = {
            "encode": encoder.encode,
            "HTTP": by_http,
            "openai": lambda batch: client.embeddings.create(input=batch, model=model),
        }
        for _ in range(arguments.rounds):
            for callers in arguments.callers:
                for name, call in ways.items():
                    rate = calls_per_s(call, batches, callers, arguments.seconds)
                    best[callers, name] = max(best.get((callers, name), 0.0), rate)
    rows = [
        {
            "callers": callers,
            "by": name,
            "calls_per_s": round(rate, 1),
            "sentences_per_s": round(rate * arguments.batch),
            "of_grpc": round(rate / best[callers, "encode"], 3),
        }
        for (callers, name), rate in best.items()
    ]
    title = f"{arguments.checkpoint.name} {arguments.precision}, calls of {arguments.batch} sentences, {hardware()}"
    print_report("gateway", title, rows, save=arguments.save)


if __name__ == "__main__":
    main()
