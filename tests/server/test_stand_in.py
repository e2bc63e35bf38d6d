"""The stand-in for libtorch on a real Triton, with a model that shows what it was given."""

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

from sentriton_server.serving.preflight import with_free_ports
from sentriton_server.serving.process import TritonProcess
from sentriton_server.serving.settings import ServerSettings

CONFIG = """
name: "{name}"
backend: "pytorch"
max_batch_size: 8
input [
  {{ name: "first" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true }},
  {{ name: "second" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true }}
]
batch_input [
  {{ kind: BATCH_ITEM_SHAPE target_name: "first_lengths" data_type: TYPE_INT32 source_input: "first" }},
  {{ kind: BATCH_ITEM_SHAPE target_name: "second_lengths" data_type: TYPE_INT32 source_input: "second" }}
]
output [ {{ name: "seen" data_type: {output_type} dims: [ -1, 4 ] }} ]
batch_output [ {{ target_name: "seen" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "first" }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ max_queue_delay_microseconds: 300000 preferred_batch_size: [ 8 ] }}
"""


class Witness(torch.nn.Module):
    """For every element of `first`: itself, its place in the whole batch, and the lengths of its row in both inputs.
    The arguments stand in another order than the configuration names them."""

    def forward(self, second_lengths: Tensor, first: Tensor, first_lengths: Tensor, second: Tensor) -> Tensor:
        rows = torch.repeat_interleave(torch.arange(first_lengths.size(0)), first_lengths.flatten().to(torch.int64))
        place = torch.arange(first.size(0))
        columns = [
            first,
            place,
            first_lengths.flatten()[rows].to(torch.int64),
            second_lengths.flatten()[rows].to(torch.int64),
        ]
        return torch.stack(columns, dim=1)


def write_model(repository: Path, name: str, output_type: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG.format(name=name, output_type=output_type))
    torch.jit.script(Witness()).save(str(repository / name / "1" / "model.pt"))


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GRPCInferenceServiceStub]:
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "witness", "TYPE_INT64")
    write_model(repository, "wrong_dtype", "TYPE_FP32")
    settings = with_free_ports(ServerSettings(grpc_port=0, metrics_port=0))
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


def request(model: str, first: list[list[int]], second: list[list[int]]) -> Any:
    message = service_pb2.ModelInferRequest(model_name=model)
    for name, rows in (("first", first), ("second", second)):
        values = np.array(rows, dtype=np.int64)
        message.inputs.add(name=name, datatype="INT64", shape=values.shape)
        message.raw_input_contents.append(values.tobytes())
    return message


def seen(response: Any) -> Any:
    output = response.outputs[0]
    return np.frombuffer(response.raw_output_contents[0], dtype=np.int64).reshape(tuple(output.shape))


def test_requests_of_any_length_form_one_batch_and_each_gets_its_own_rows(stub: GRPCInferenceServiceStub) -> None:
    shapes = [(1, 3), (2, 5), (1, 1), (3, 2), (1, 7)]  # 8 rows: exactly one batch
    requests = []
    for number, (rows, length) in enumerate(shapes):
        first = [[100 * number + 10 * row + place for place in range(length)] for row in range(rows)]
        requests.append(request("witness", first, [[0] * (number + 1)] * rows))
    futures = [stub.ModelInfer.future(message, timeout=30) for message in requests]
    outputs = [seen(future.result()) for future in futures]

    places = []
    for number, ((rows, length), output) in enumerate(zip(shapes, outputs, strict=True)):
        assert output.shape == (rows, length, 4)
        expected = [[100 * number + 10 * row + place for place in range(length)] for row in range(rows)]
        assert output[..., 0].tolist() == expected, "each request gets the rows of its own elements"
        assert (output[..., 2] == length).all(), "BATCH_ITEM_SHAPE has the length of every row"
        assert (output[..., 3] == number + 1).all(), "and of the other input its own"
        flat = output[..., 1].reshape(-1)
        assert (np.diff(flat) == 1).all(), "a request's elements stand together, in order"
        places.append(flat)
    # One concatenation without padding: the places of all requests are 0 to the number of elements, each once.
    assert sorted(np.concatenate(places).tolist()) == list(range(sum(rows * length for rows, length in shapes)))


def test_an_output_of_another_dtype_than_configured_is_an_error(stub: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(request("wrong_dtype", [[1, 2]], [[1]]), timeout=30)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "TYPE_INT64" in raised.value.details()
    assert "TYPE_FP32" in raised.value.details()
