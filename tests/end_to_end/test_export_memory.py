"""The memory that an export takes beside its imports, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import RobertaConfig, RobertaModel

from sentriton_server.module_file import save_module
from tests.checkpoints import make_tokenizer
from tests.conftest import ROOT

# Widths of RoBERTa-base: 225 MB of weights.
CONFIG = RobertaConfig(
    vocab_size=18_000,
    hidden_size=768,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=66,
    pad_token_id=1,
    type_vocab_size=1,
)
PEAK_OF_AN_EXPORT = """
import pathlib, sys, torch
import sentence_transformers
from transformers import RobertaModel, RobertaTokenizerFast
from benchmarks.growth import growth
from sentriton_server.export import export

torch.set_num_threads(1)
with growth() as grown:
    export(sys.argv[1], pathlib.Path(sys.argv[2]), precision=sys.argv[3], device="cpu")
print(grown.mib)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    RobertaModel(CONFIG, add_pooling_layer=False).save_pretrained(folder / "encoder")
    make_tokenizer().save_pretrained(folder / "encoder")
    transformer = Transformer(str(folder / "encoder"), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(768)], device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_export_takes_at_most_two_and_a_half_times_the_weights(
    precision: str, checkpoint: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", PEAK_OF_AN_EXPORT),
            *(str(checkpoint), str(tmp_path / "repository"), precision),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    weights_mib = sum(path.stat().st_size for path in checkpoint.rglob("*.safetensors")) / 2**20
    print(f"\n{precision}: peak {float(done.stdout):.0f} MiB, weights {weights_mib:.0f} MiB")
    assert weights_mib < float(done.stdout) < 2.5 * weights_mib


def test_a_module_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    module = torch.jit.script(torch.nn.Linear(512, 512))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"file/model\.pt"):
        save_module(module, tmp_path / "file/model.pt")
    with pytest.raises(OSError, match="No space left on device"):
        save_module(module, Path("/dev/full"))
    save_module(module, tmp_path / "model.pt")
    inputs = torch.ones(1, 512)
    assert torch.equal(torch.jit.load(str(tmp_path / "model.pt"))(inputs), module(inputs))
