"""What does a long text cost in time and memory?

    .venv/bin/python -m benchmarks.long_texts [--encoders xlm-roberta modernbert] [--layers 12] [--hidden 768]
        [--lengths 512 2048 8192] [--precision fp32] [--operators auto]

Each length is one row in a process of its own. The seconds are those of the second call of the exported module, and the
memory is the peak of a call above the loaded module. Weights are random, and layers have the sizes of a base model.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import print_report
from benchmarks.workload import hardware
from sentriton_server.encoder import FAMILIES

_ONE_LENGTH = """
import json, sys, time
import torch
from pathlib import Path
from benchmarks.memory import growth
from sentriton_server.encoder.operators import load_library
torch._C._get_graph_executor_optimize(False)
module, tokens = Path(sys.argv[1]), int(sys.argv[2])
load_library(module.parent)
encoder = torch.jit.load(str(module))
def run(tokens):
    ids = torch.arange(5, 5 + tokens, dtype=torch.int32).remainder_(900).add_(5).unsqueeze(1)
    with torch.inference_mode():
        encoder(ids, torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.int64))
run(8)
with growth() as grown:
    run(tokens)
started = time.perf_counter()
run(tokens)
print(json.dumps({"seconds": time.perf_counter() - started, "mib": grown.mib}))
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=FAMILIES, default=["xlm-roberta", "modernbert"])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--operators", choices=["auto", "torch"], default="auto")
    return parser


def main() -> None:
    arguments = parser().parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for model_type in arguments.encoders:
            module, operators = _compiled(model_type, arguments, Path(scratch) / model_type)
            for length in arguments.lengths:
                command = [sys.executable, "-c", _ONE_LENGTH, str(module), str(length)]
                measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                rows.append(
                    {
                        "encoder": model_type,
                        "operators": operators,
                        "precision": arguments.precision,
                        "tokens": length,
                        "seconds": round(measured["seconds"], 2),
                        "tokens_per_s": round(length / measured["seconds"]),
                        "added_mib": round(measured["mib"]),
                    }
                )
    title = f"One row, {arguments.layers} layers of {arguments.hidden}, {hardware()}"
    print_report("long_texts", title, rows)


def _compiled(model_type: str, arguments: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    """The module of a random encoder, and whose operators it has."""
    from transformers import AutoConfig, AutoModel

    from sentriton_server.encoder import PRECISIONS, compile_encoder, read_encoder
    from sentriton_server.encoder.operators import LIBRARY, EncoderSizes
    from sentriton_server.encoder.operators.choice import choose_operators
    from sentriton_server.module_file import save_module

    family = FAMILIES[model_type]
    sizes = {
        "vocab_size": 1000,
        "hidden_size": arguments.hidden,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": arguments.hidden // 64,
        "intermediate_size": arguments.hidden * (3 if family.gated else 8) // 2,
        "max_position_embeddings": max(arguments.lengths) + 2,
        "pad_token_id": 1,
        **{f"{name}_token_id": 0 for name in ("bos", "eos", "cls", "sep")},
    }
    named = {family.settings.get(name, name): value for name, value in sizes.items() if name not in family.constants}
    _, encoder = read_encoder(AutoModel.from_config(AutoConfig.for_model(model_type, **named)), None)
    choice = choose_operators(arguments.operators, "cpu", EncoderSizes.of(encoder))
    folder.mkdir()
    if choice.library is not None:
        shutil.copyfile(choice.library, folder / LIBRARY)
    scripted = compile_encoder(encoder, PRECISIONS[arguments.precision], operators=choice.library is not None)
    save_module(scripted, folder / "model.pt")
    return folder / "model.pt", choice.name


if __name__ == "__main__":
    main()
