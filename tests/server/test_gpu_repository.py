"""A repository for a GPU on a real Triton. The encoder runs on the CPU, and requests are scheduled as for a GPU."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from google.protobuf import text_format
from sentence_transformers import SentenceTransformer
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from sentriton import SentenceEncoder
from sentriton_server.repository import CHECKSUMS, MANIFEST, read_config, record_files
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import TritonServer, process
from tests.commands import SENTRITON
from tests.servers import started

environment = process._environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The bundled checkpoint in fp32: batches, pooling and the encoder's way without kernels are those for a GPU."""
    repository = tmp_path_factory.mktemp("gpu") / "repository"
    command = ["export", str(BUNDLED_CHECKPOINT), str(repository), "--device", "gpu", "--check-on", "cpu"]
    subprocess.run([SENTRITON, *command, "--precision", "fp32"], check=True)
    config = read_config(repository, "encoder")
    config.instance_group[0].kind = ModelInstanceGroup.KIND_CPU
    (repository / "encoder/config.pbtxt").write_text(text_format.MessageToString(config))
    manifest = repository / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "device": "cpu"}))
    (repository / CHECKSUMS).unlink()
    record_files(repository)
    with pytest.MonkeyPatch.context() as patch:
        # embed_tokens schedules as for a GPU.
        patch.setattr(process, "_environment", lambda *given: {**environment(*given), "SENTRITON_GPUS": "1"})
        with started(repository) as server:
            yield server


def test_its_vectors_are_those_of_sentence_transformers(server: TritonServer, reference: SentenceTransformer) -> None:
    sentences = [
        "짧은 문장",
        "the " * 300,
        "",
        *(f"{number} 번째 문장입니다." * (number % 40 + 1) for number in range(300)),
    ]
    with SentenceEncoder(server.url) as encoder:
        found = encoder.encode(sentences)
    expected = reference.encode(sentences)
    np.testing.assert_allclose((found * expected).sum(1), (expected**2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_token_embeddings_come_to_the_caller(server: TritonServer, reference: SentenceTransformer) -> None:
    with SentenceEncoder(server.url) as encoder:
        (found,) = encoder.encode(["한국어 문장"], output_value="token_embeddings")
    (expected,) = reference.encode(["한국어 문장"], output_value="token_embeddings")
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_many_callers_get_their_own_vectors_while_answers_are_sent_apart(
    server: TritonServer, reference: SentenceTransformer
) -> None:
    sentences = [f"{number} 번째 문장입니다." * (number % 7 + 1) for number in range(400)]
    with ExitStack() as stack:
        # Calls of one encoder would share requests.
        encoders = [stack.enter_context(SentenceEncoder(server.url)) for _ in range(16)]
        callers = stack.enter_context(ThreadPoolExecutor(len(encoders)))
        found = np.stack([*callers.map(SentenceEncoder.encode, encoders * 25, sentences)])
    np.testing.assert_allclose(found, reference.encode(sentences), atol=1e-4)
