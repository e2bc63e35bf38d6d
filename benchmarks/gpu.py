"""The questions of the other benchmarks, asked of a GPU: one command, a table and a JSON line for each.

    .venv/bin/python -m benchmarks.gpu [--size large] [--layers N] [--questions limit offline online] [--sentences 2048]
        [--seconds 15] [--rounds 3] [--plots FOLDER] [--device gpu|cpu]

limit: tokens a second of the length mixture up to 512 tokens through the service in fp16, and the share it is of the
GPU's matrix rate on the model's own shapes, in fp16 and bf16. offline: the same corpus, next to sentence-transformers
on the same GPU. online: single sentences of 1 to 1,024 callers. Each runs in a process of its own, so that it has the
GPU to itself. `--device cpu` runs all of it in fp32, on a small model unless told otherwise, to see that it works.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.checkpoints import SIZES

QUESTIONS = ("limit", "offline", "online")
SIZE = {"gpu": "large", "cpu": "4x256"}
PRECISION = {"gpu": "fp16", "cpu": "fp32"}


def questions(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """What each benchmark is told."""
    device, size = arguments.device, arguments.size or SIZE[arguments.device]
    layers = str(arguments.layers or SIZES[size][0])
    corpus = ["--size", size, "--layers", layers, "--device", device, "--lengths", "mixture"]
    corpus += ["--sentences", str(arguments.sentences), "--rounds", str(arguments.rounds)]
    asked = {
        "limit": ["--precisions", PRECISION[device]],
        "offline": ["--precisions", PRECISION[device], "--contenders", "sentence-transformers", "sentriton"],
        "online": [
            *("--precision", PRECISION[device], "--callers", "1", "8", "64", "256", "1024"),
            *("--seconds", str(arguments.seconds), "--processes", "4"),
        ],
    }
    plot = {question: ["--plot", str(arguments.plots / f"gpu-{question}.png")] for question in asked if arguments.plots}
    return {question: [*corpus, *asked[question], *plot.get(question, [])] for question in arguments.questions}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, help="large on a GPU, 4x256 on the CPU, unless given")
    parser.add_argument("--layers", type=int, help="all that the model has, unless given")
    parser.add_argument("--questions", choices=QUESTIONS, nargs="+", default=QUESTIONS)
    parser.add_argument("--sentences", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=15, help="of every turn of callers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plots", type=Path, help="a folder for the plots")
    parser.add_argument("--device", choices=SIZE, default="gpu")
    return parser


def main() -> None:
    arguments = parser().parse_args()
    if arguments.device == "gpu":
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("torch sees no CUDA GPU here; --device cpu runs the same on the CPU")
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
    for question, told in questions(arguments).items():
        print(f"benchmarks.{question} {' '.join(told)}", file=sys.stderr)
        subprocess.run([sys.executable, "-W", "ignore", "-m", f"benchmarks.{question}", *told], check=True)


if __name__ == "__main__":
    main()
