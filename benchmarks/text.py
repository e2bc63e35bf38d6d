"""How fast is `embed_text`, which tokenizes in the server, compared with `embed_tokens`?

    .venv/bin/python -m benchmarks.text [--checkpoint FOLDER] [--precision fp32] [--lengths klue|mixture]
        [--bulk 4] [--lane query|bulk] [--callers 64] [--seconds 5] [--rounds 3] [--device cpu|gpu] [--save FILE.json]

Both models get the same sentences in prepared requests, so only `embed_text` tokenizes in the measured time. In bulk,
`--bulk` requests of 64 sentences are in flight in a lane; a GPU needs about 64 of them. The callers have one sentence
in each request. All take turns, and the best round of each counts. CPU time is that of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import time
from pathlib import Path

import psutil

from benchmarks.callers import WARM_UP_S, Target, call_in_turn, rate_and_latencies
from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, cpu_seconds, hardware, spread_by_length
from sentriton.protocol import text_request, tokens_request
from sentriton.requests import plan_requests
from sentriton.tokenization import TextTokenizer
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository

BULK_ROWS = 64
MAX_OVERTIME_S = 30.0  # of a turn whose callers still wait for answers


def requests_of(repository: Path, sentences: list[str], rows: int, lane: str) -> dict[str, list[bytes]]:
    """The sentences in requests of `rows` sentences of similar length for a lane, for each of the two models."""
    tokenizer = TextTokenizer((repository / "assets/1/tokenizer.json").read_text(encoding="utf-8"))
    planned = list(plan_requests(sentences, tokenizer, max_rows=rows))
    random.Random(0).shuffle(planned)  # otherwise the longest come first, and a turn may end before the shortest
    texts = [[sentences[index] for index in request.indices] for request in planned]
    return {
        "embed_tokens": [tokens_request(request.tokens, {"lane": lane}).SerializeToString() for request in planned],
        "embed_text": [text_request(text, {"lane": lane}).SerializeToString() for text in texts],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--bulk", type=int, default=4, help="requests in flight in bulk")
    parser.add_argument("--lane", choices=["query", "bulk"], default="query", help="lane of the requests in bulk")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sentences = spread_by_length(SENTENCES[arguments.lengths](1024))
    precision, device = arguments.precision, arguments.device
    repository = prepare_repository(arguments.checkpoint, precision=precision, device=device)
    loads = {
        f"bulk, {BULK_ROWS} sentences a request": (BULK_ROWS, arguments.bulk, arguments.lane),
        f"{arguments.callers} callers": (1, arguments.callers, "query"),
    }
    best: dict[tuple[str, str], tuple[float, float]] = {}  # sentences per second, and seconds of CPU for each of them
    with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        for _ in range(arguments.rounds):
            for load, (rows, callers, lane) in loads.items():
                for model, requests in requests_of(repository, sentences, rows, lane).items():
                    target, most_s = Target(server.url, requests), arguments.seconds + MAX_OVERTIME_S
                    before = cpu_seconds(process)
                    begin = time.monotonic() + WARM_UP_S
                    calls = asyncio.run(call_in_turn(target, callers, begin, arguments.seconds, most_s))
                    cpu_s = (cpu_seconds(process) - before) / (len(calls.answered) * rows)
                    rate = rate_and_latencies(calls)[0] * rows
                    best[load, model] = max(best.get((load, model), (0.0, 0.0)), (rate, cpu_s))
    rows_of_report = [
        {
            "load": load,
            "model": model,
            "sentences_per_s": round(rate),
            "of_embed_tokens": round(rate / best[load, "embed_tokens"][0], 3),
            "server_cpu_us": round(1e6 * cpu_s),
        }
        for (load, model), (rate, cpu_s) in best.items()
    ]
    title = f"{arguments.checkpoint.name} {arguments.precision}, {arguments.lengths} sentences, {hardware(device)}"
    print_report("text", title, rows_of_report, save=arguments.save, device=device)


if __name__ == "__main__":
    main()
