"""How many requests per second does the server reach with an almost empty model, and which part takes the time?

    make perf-analyzer
    .venv/bin/python -m benchmarks.overhead [--callers 1 64 256] [--seconds 12] [--tokens 24] [--plot FILE.png]

A RoBERTa of one layer, 64 wide, gets single rows of `--tokens` tokens from Triton's load generator (perf_analyzer, in
C++) on the same cores. The table has rate, latency, and the CPU time per request in each process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import resource
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from benchmarks.checkpoints import make_checkpoint
from benchmarks.report import print_report
from benchmarks.workload import hardware
from sentriton.protocol import EMBED_TOKENS
from sentriton_server.export import export
from sentriton_server.serving import ServerSettings, TritonServer

PERF_ANALYZER = Path("build/perf_analyzer")
ADMIN_KEY = "benchmark"  # perf_analyzer reads Triton's statistics
MEASUREMENT_WINDOWS = 3


def run_load(server: TritonServer, data: Path, tokens: int, callers: int, seconds: float) -> dict[str, float]:
    """perf_analyzer's figures with `callers` requests in flight."""
    command = [
        *(str(PERF_ANALYZER / "perf_analyzer"), "-m", EMBED_TOKENS, "-u", server.url, "-i", "grpc", "--async"),
        *("--concurrency-range", str(callers), "--input-data", str(data)),
        *("-b", str(tokens)),  # packed rows: the batch counts tokens
        *(
            "--measurement-interval",
            str(round(seconds * 1000 / MEASUREMENT_WINDOWS)),
            "--max-trials",
            str(MEASUREMENT_WINDOWS),
        ),
        # Its default of 16 threads would take a quarter more CPU time.
        *("--max-threads", "2"),
        *("--stability-percentage", "100", "-H", f"triton-grpc-protocol-admin-key:{ADMIN_KEY}"),
    ]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(PERF_ANALYZER)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"perf_analyzer ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    rate = re.search(r"Throughput: ([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    latencies = {f"p{p}_ms": round(int(us) / 1000, 1) for p, us in re.findall(r"p(50|99) latency: (\d+)", done.stdout)}
    return {"requests_per_s": round(float(rate[1]) / tokens), **latencies}  # it counts the batch's elements


def processes(server: TritonServer) -> dict[str, list[psutil.Process]]:
    """The processes of Triton and of its Python models, by name."""
    assert server.process is not None
    triton = psutil.Process(server.process.pid)
    found = {"triton": [triton]}
    for child in triton.children():
        # A stub's last arguments are its model instance, such as encoder_0_1, and its backend.
        found.setdefault(re.sub(r"(_\d+){2}$", "", child.cmdline()[-2]), []).append(child)
    return found


def cpu_seconds_of(members: list[psutil.Process]) -> float:
    return sum(sum(member.cpu_times()[:2]) for member in members)


def load_generator_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def requests_so_far(server: TritonServer) -> float:
    time.sleep(1.5)  # the server publishes its counts every second
    text = urllib.request.urlopen(server.metrics_url).read().decode()
    return sum(float(count) for count in re.findall(r"^sentriton_requests_total\{.*\} (\S+)$", text, re.MULTILINE))


def measure(server: TritonServer, data: Path, tokens: int, callers: int, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    members = processes(server)
    before = {name: cpu_seconds_of(its) for name, its in members.items()}
    requests, generator = requests_so_far(server), load_generator_seconds()
    measured = run_load(server, data, tokens, callers, seconds)
    generator = load_generator_seconds() - generator
    requests = requests_so_far(server) - requests
    spent = {"load generator": generator} | {name: cpu_seconds_of(its) - before[name] for name, its in members.items()}
    microseconds = {f"{name}_us": round(1e6 * took / requests) for name, took in spent.items()}
    return {"callers": str(callers), **measured, **microseconds, "all_us": sum(microseconds.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if not (PERF_ANALYZER / "perf_analyzer").is_file():
        raise SystemExit(f"no {PERF_ANALYZER}/perf_analyzer; run: make perf-analyzer")
    values = {"input_ids": 5, "row": 0, "pooled": True}
    token = {name: {"content": [value], "shape": [1]} for name, value in values.items()}
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data.json"
        data.write_text(json.dumps({"data": [token] * arguments.tokens}))
        repository = Path(scratch) / "repository"
        export(make_checkpoint("1x64", Path(scratch)), repository, device="cpu")
        with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0, admin_key=ADMIN_KEY)) as server:
            rows = [
                measure(server, data, arguments.tokens, callers, arguments.seconds) for callers in arguments.callers
            ]
    worked = {name for row in rows for name, value in row.items() if value}
    rows = [{name: value for name, value in row.items() if name in worked} for row in rows]
    title = f"RoBERTa-1x64 fp32, single rows of {arguments.tokens} tokens, CPU time a request in us, {hardware()}"
    print_report("overhead", title, rows, plot=arguments.plot, bars="requests_per_s")


if __name__ == "__main__":
    main()
