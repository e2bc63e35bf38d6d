"""What rates does each language's client reach, and at what CPU time?

    .venv/bin/python -m benchmarks.clients [--checkpoint FOLDER] [--precision fp32] [--sentences 20000] [--callers 64]
        [--seconds 5] [--rounds 3] [--contenders python go] [--save FILE.json]

Each client embeds a list in one call, then single sentences by many callers of one encoder (threads, goroutines,
tasks). All take turns in rounds, and the best round of each column counts. CPU time is that of the client's process.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, hardware, spread_by_length
from sentriton import SentenceEncoder
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository

WARM_UP_S = 1.0
ROOT = Path(__file__).resolve().parents[1]
CPP, GO, JAVA, RUST = (ROOT / "client" / language for language in ("cpp", "go", "java", "rust"))


def measure(url: str, sentences: list[str], callers: int, seconds: float) -> dict[str, float]:
    """The Python client in this process: rates in sentences/s, CPU time in microseconds per sentence."""
    with SentenceEncoder(url) as encoder:
        encoder.encode(sentences[:1000])
        began, used = time.monotonic(), time.process_time()
        encoder.encode(sentences)
        list_s, list_cpu_s = time.monotonic() - began, time.process_time() - used
        answers = [0] * callers
        end = time.monotonic() + WARM_UP_S + seconds

        def call(caller: int) -> None:
            place = 37 * caller
            while time.monotonic() < end:
                encoder.encode(sentences[place % len(sentences)])
                answers[caller] += 1
                place += 1

        threads = [threading.Thread(target=call, args=[caller]) for caller in range(callers)]
        for thread in threads:
            thread.start()
        time.sleep(WARM_UP_S)
        before, began, used = sum(answers), time.monotonic(), time.process_time()
        time.sleep(seconds)
        count = sum(answers) - before
        single_s, single_cpu_s = time.monotonic() - began, time.process_time() - used
        for thread in threads:
            thread.join()
    return {
        "list_per_s": len(sentences) / list_s,
        "list_cpu_us": 1e6 * list_cpu_s / len(sentences),
        "single_per_s": count / single_s,
        "single_cpu_us": 1e6 * single_cpu_s / count,
    }


def _python(_folder: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.clients", "--client"]


def _go(folder: Path) -> list[str]:
    subprocess.run(["go", "build", "-o", folder / "go", "./internal/bench"], cwd=GO, check=True)
    return [str(folder / "go")]


def _java(_folder: Path) -> list[str]:
    subprocess.run(["mvn", "--batch-mode", "--quiet", "test-compile"], cwd=JAVA, check=True)
    target = JAVA / "target"
    path = f"{target / 'test-classes'}:{target / 'classes'}:{(target / 'classpath').read_text()}"
    return ["java", "-cp", path, "io.sentriton.Speed"]


def _node(_folder: Path) -> list[str]:
    subprocess.run(["make", "--silent", "node"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return ["node", str(Path(__file__).with_suffix(".mjs"))]


def _rust(_folder: Path) -> list[str]:
    command = ["cargo", "build", "--locked", "--release", "--example", "bench", "--message-format=json"]
    built = subprocess.run(command, cwd=RUST, stdout=subprocess.PIPE, text=True, check=True)
    (program,) = filter(None, (json.loads(line).get("executable") for line in built.stdout.splitlines()))
    return [program]


def _cpp(folder: Path) -> list[str]:
    libraries, build = ROOT / "build" / "cpp-libraries", folder / "cpp"
    subprocess.run(["sh", CPP / "tools" / "fetch-libraries.sh", libraries], check=True)
    initial = ["-C", libraries / "libraries.cmake", "-D", "CMAKE_BUILD_TYPE=Release"]
    subprocess.run(["cmake", *initial, "-S", CPP, "-B", build], stdout=subprocess.DEVNULL, check=True)
    command = ["cmake", "--build", build, "--parallel", "--target", "bench"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return [str(build / "programs" / "bench")]


# Each function builds the program of a client and returns its command. The program takes URL, CALLERS and SECONDS,
# reads sentences as JSON from standard input, and prints the figures of `measure`.
CONTENDERS: dict[str, Callable[[Path], list[str]]] = {
    "python": _python,
    "go": _go,
    "java": _java,
    "node": _node,
    "rust": _rust,
    "cpp": _cpp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=[*CONTENDERS], help="default: all")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    klue = spread_by_length(SENTENCES["klue"](1038))
    # Numbered, so that no sentence repeats.
    numbered = [f"{place} {klue[place % len(klue)]}" for place in range(arguments.sentences)]
    best: dict[str, dict[str, float]] = {}
    repository = prepare_repository(arguments.checkpoint, precision=arguments.precision, device="cpu")
    with (
        tempfile.TemporaryDirectory() as folder,
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
    ):
        programs = {name: CONTENDERS[name](Path(folder)) for name in arguments.contenders}
        for _ in range(arguments.rounds):
            for name, program in programs.items():
                command = [*program, server.url, str(arguments.callers), str(arguments.seconds)]
                ran = subprocess.run(command, input=json.dumps(numbered), stdout=subprocess.PIPE, text=True, check=True)
                for column, value in json.loads(ran.stdout).items():
                    faster = max if column.endswith("per_s") else min
                    best.setdefault(name, {})[column] = faster(value, best.get(name, {}).get(column, value))
    rows = [
        {
            "client": name,
            **{column: round(value) for column, value in found.items()},
            "single_of_list": round(found["single_per_s"] / found["list_per_s"], 2),
        }
        for name, found in best.items()
    ]
    title = (
        f"{arguments.checkpoint.name} {arguments.precision}, {arguments.sentences:,} sentences in one call, and "
        f"{arguments.callers} callers of single ones, {hardware()}"
    )
    print_report("clients", title, rows, save=arguments.save)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        url, callers, seconds = sys.argv[2:]
        print(json.dumps(measure(url, json.load(sys.stdin), int(callers), float(seconds))))
    else:
        main()
