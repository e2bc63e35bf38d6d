"""The stand-in for libtorch on a real Triton, with a model that shows its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from torch import Tensor
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton_server.serving.process import TritonProcess
from tests.ports import FREE_PORTS, with_free_ports

CONFIG = """
name: "{name}"
backend: "pytorch"
max_batch_size: 8
input [
  {{ name: "first" data_type: TYPE_INT64 dims: [ 1 ] }},
  {{ name: "second" data_type: TYPE_INT64 dims: [ 1 ] }}
]
output [ {{ name: "seen" data_type: {output_type} dims: [ 3 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
{more}
"""
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [ 8 ] }"
# A parameter of the libtorch backend that the stand-in does not have.
IGNORED = 'parameters { key: "ENABLE_CACHE_CLEANING" value { string_value: "true" } }'


class Witness(torch.nn.Module):
    """Returns `first`, `second` and the place in the whole batch for every row. Rejects negative values of `first`. The
    arguments have another order than in the configuration.
    """

    def forward(self, second: Tensor, first: Tensor) -> Tensor:
        if bool((first < 0).any()):
            raise ValueError("first must not be negative")
        return torch.cat([first, second, torch.arange(first.size(0)).unsqueeze(1)], dim=1)


def write_model(repository: Path, name: str, output_type: str, more: str = "") -> None:
    (repository / name / "1").mkdir(parents=True)
    config = CONFIG.format(name=name, output_type=output_type, more=more)
    (repository / name / "config.pbtxt").write_text(config)
    torch.jit.script(Witness()).save(str(repository / name / "1" / "model.pt"))


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GRPCInferenceServiceStub]:
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "witness", "TYPE_INT64", BATCHING)
    write_model(repository, "alone", "TYPE_INT64", IGNORED)
    write_model(repository, "wrong_dtype", "TYPE_FP32")
    settings = with_free_ports(FREE_PORTS)
    process = TritonProcess(repository, settings)
    channel = grpc.insecure_channel(f"{settings.host}:{settings.grpc_port}")
    stub = GRPCInferenceServiceStub(channel)
    try:
        ready = stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=60, wait_for_ready=True)
        assert ready.ready, process.log()
        yield stub
    finally:
        channel.close()
        process.stop()


def request(model: str, first: list[int], second: list[int]) -> Any:
    message = service_pb2.ModelInferRequest(model_name=model)
    for name, rows in (("first", first), ("second", second)):
        values = np.array(rows, dtype=np.int64)[:, None]
        message.inputs.add(name=name, datatype="INT64", shape=values.shape)
        message.raw_input_contents.append(values.tobytes())
    return message


def seen(response: Any) -> Any:
    output = response.outputs[0]
    return np.frombuffer(response.raw_output_contents[0], dtype=np.int64).reshape(tuple(output.shape))


def test_requests_form_one_batch_and_each_gets_its_own_rows(stub: GRPCInferenceServiceStub) -> None:
    sizes = [3, 1, 2, 2]  # 8 rows: exactly one batch
    firsts = [[10 * number + row for row in range(size)] for number, size in enumerate(sizes)]
    futures = [stub.ModelInfer.future(request("witness", first, first[::-1]), timeout=30) for first in firsts]
    outputs = [seen(future.result()) for future in futures]
    for first, output in zip(firsts, outputs, strict=True):
        assert output[:, 0].tolist() == first
        assert output[:, 1].tolist() == first[::-1]
        assert (np.diff(output[:, 2]) == 1).all(), "a request's rows stand together, in order"
    # In one batch, the places of all requests are 0 to the number of rows minus 1, each once.
    assert sorted(np.concatenate([output[:, 2] for output in outputs]).tolist()) == list(range(sum(sizes)))


def test_an_error_fails_the_execution_in_the_words_of_libtorchs_backend(stub: GRPCInferenceServiceStub) -> None:
    futures = [stub.ModelInfer.future(request("alone", [value], [0]), timeout=30) for value in (1, -1, 2)]
    codes = [future.code() for future in futures]
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.OK]
    assert futures[1].details().startswith("PyTorch execute failure: ")
    assert "first must not be negative" in futures[1].details()


def test_an_output_of_another_dtype_than_configured_is_an_error(stub: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(request("wrong_dtype", [1, 2], [1, 2]), timeout=30)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "TYPE_INT64" in raised.value.details()
    assert "TYPE_FP32" in raised.value.details()
