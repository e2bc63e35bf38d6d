"""How much memory do the processes of a server and its gateway have, and which of them load torch?

    .venv/bin/python -m benchmarks.processes [--checkpoint FOLDER] [--precision fp32]

The server has embedded some hundred sentences. `rss_mib` counts shared pages in each process. `pss_mib` divides them
among the processes, so its sum is the server's memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.gateway import gateway_to
from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, hardware
from sentriton import SentenceEncoder
from sentriton_server.resources import BUNDLED_CHECKPOINT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    sentriton = str(Path(sys.executable).parent / "sentriton")
    free_ports = ["--grpc-port", "0", "--metrics-port", "0"]
    command = [sentriton, "serve", str(arguments.checkpoint), "--precision", arguments.precision, *free_ports]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("serving "))
        url = line.split(" at ")[1].split()[0]
        with gateway_to(url) as gateway, SentenceEncoder(url) as encoder:
            encoder.encode(SENTENCES["klue"](512))
            httpx.get(f"{gateway}/health", timeout=60).raise_for_status()
            children = psutil.Process().children(recursive=True)
            rows = [row(child) for child in children]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    rows.append(total(rows))
    print_report("processes", f"{arguments.checkpoint.name} {arguments.precision}, {hardware()}", rows)


def row(process: psutil.Process) -> dict[str, Any]:
    memory = process.memory_full_info()
    return {
        "process": name_of(process),
        "has_torch": "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"),
        "rss_mib": memory.rss >> 20,
        "pss_mib": memory.pss >> 20,
    }


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"process": "all", "has_torch": None, "rss_mib": None, "pss_mib": sum(row["pss_mib"] for row in rows)}


def name_of(process: psutil.Process) -> str:
    """A model's name for the stub that runs it, else the program and its command."""
    words = process.cmdline()
    for word in words:
        if word.endswith("/1/model.py"):
            return Path(word).parent.parent.name
    return " ".join(Path(word).name for word in words[:3] if not word.startswith("-"))


if __name__ == "__main__":
    main()
