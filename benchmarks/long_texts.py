"""What does a long text cost in time and memory?

    .venv/bin/python -m benchmarks.long_texts [--encoders xlm-roberta modernbert] [--layers 12] [--hidden 768]
        [--lengths 512 2048 8192] [--precision fp32] [--operators auto torch]

Each length is one row in a separate process. The seconds are the best of several calls of the exported module, and the
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
from benchmarks.growth import growth
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
seconds = []
while len(seconds) < 2 or sum(seconds) < 2:
    started = time.perf_counter()
    run(tokens)
    seconds.append(time.perf_counter() - started)
print(json.dumps({"seconds": min(seconds), "mib": grown.mib}))
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=FAMILIES, default=["xlm-roberta", "modernbert"])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--operators", nargs="+", choices=["auto", "torch"], default=["auto"])
    return parser


def main() -> None:
    arguments = parser().parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for model_type in arguments.encoders:
            folder = Path(scratch) / model_type
            compiled = [_compiled(model_type, arguments, operators, folder) for operators in arguments.operators]
            for length in arguments.lengths:
                for module, operators in compiled:
                    command = [sys.executable, "-c", _ONE_LENGTH, str(module), str(length)]
                    measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                    rows.append(
                        {
                            "encoder": model_type,
                            "operators": operators,
                            "precision": arguments.precision,
                            "tokens": length,
                            "seconds": round(measured["seconds"], 4),
                            "tokens_per_s": round(length / measured["seconds"]),
                            "added_mib": round(measured["mib"]),
                        }
                    )
    title = f"One row, {arguments.layers} layers of {arguments.hidden}, {hardware()}"
    print_report("long_texts", title, rows)


def make_encoder(model_type: str, tokens: int, *, hidden_size: int, **sizes: int) -> Any:
    """A random encoder of transformers with positions for this number of tokens."""
    from transformers import AutoConfig, AutoModel

    family = FAMILIES[model_type]
    settings = {
        "hidden_size": hidden_size,
        "num_attention_heads": hidden_size // 64,
        "intermediate_size": hidden_size * (3 if family.gated else 8) // 2,
        "max_position_embeddings": tokens + 2,
        "pad_token_id": 1,
        **{f"{name}_token_id": 0 for name in ("bos", "eos", "cls", "sep")},
        **sizes,
    }
    named = {family.settings.get(name, name): value for name, value in settings.items() if name not in family.constants}
    return AutoModel.from_config(AutoConfig.for_model(model_type, **named))


def _compiled(model_type: str, arguments: argparse.Namespace, operators: str, folder: Path) -> tuple[Path, str]:
    """The module of a random encoder in a folder below `folder`, and the name of its operators."""
    from sentriton_server.encoder import PRECISIONS, compile_encoder, read_encoder
    from sentriton_server.encoder.operators import LIBRARY, EncoderSizes
    from sentriton_server.encoder.operators.choice import choose_operators
    from sentriton_server.module_file import save_module

    sizes = {"vocab_size": 1000, "num_hidden_layers": arguments.layers, "hidden_size": arguments.hidden}
    _, encoder = read_encoder(make_encoder(model_type, max(arguments.lengths), **sizes), None)
    choice = choose_operators(operators, "cpu", EncoderSizes.of(encoder))
    folder = folder / choice.name
    folder.mkdir(parents=True)
    if choice.library is not None:
        shutil.copyfile(choice.library, folder / LIBRARY)
    scripted = compile_encoder(encoder, PRECISIONS[arguments.precision], operators=choice.library is not None)
    save_module(scripted, folder / "model.pt")
    return folder / "model.pt", choice.name


if __name__ == "__main__":
    main()
