"""The stand-in for Triton's libtorch backend against what NVIDIA documents: BatchInput and BatchOutput in
model_config.proto, ragged_batching.md, and what Triton's own test L0_batch_input expects."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentriton_server.resources import SERVER_CONFIG


def load_stand_in() -> ModuleType:
    path = SERVER_CONFIG / "backends/pytorch/torchscript.py"
    spec = importlib.util.spec_from_file_location("torchscript_stand_in", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stand_in = load_stand_in()


def zeros(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.zeros(shape) for shape in shapes]


# L0_batch_input: four requests of one row with 2, 4, 1 and 3 elements.
RAGGED = zeros((1, 2), (1, 4), (1, 1), (1, 3))
# The example of model_config.proto: a batch-2 input with shape [3, 1] and a batch-1 input with shape [2, 2].
ITEMS = zeros((2, 3, 1), (1, 2, 2))


@pytest.mark.parametrize(
    ("kind", "tensors", "expected"),
    [
        ("BATCH_ELEMENT_COUNT", RAGGED, [2, 4, 1, 3]),
        ("BATCH_ELEMENT_COUNT", ITEMS, [6, 4]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT", RAGGED, [2, 6, 7, 10]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", RAGGED, [0, 2, 6, 7, 10]),
        ("BATCH_ITEM_SHAPE", ITEMS, [[3, 1], [3, 1], [2, 2]]),
        ("BATCH_ITEM_SHAPE", RAGGED, [[2], [4], [1], [3]]),
        ("BATCH_ITEM_SHAPE_FLATTEN", ITEMS, [3, 1, 3, 1, 2, 2]),
        ("BATCH_ITEM_SHAPE_FLATTEN", zeros((1, 4, 1), (1, 1, 2), (1, 1, 2), (1, 2, 2)), [4, 1, 1, 2, 1, 2, 2, 2]),
    ],
)
@pytest.mark.parametrize(("data_type", "dtype"), [("TYPE_INT32", torch.int32), ("TYPE_FP32", torch.float32)])
def test_batch_inputs_have_their_documented_values(
    kind: str, tensors: list[Tensor], expected: list[Any], data_type: str, dtype: torch.dtype
) -> None:
    found = stand_in.batch_input(kind, tensors, data_type)
    assert found.tolist() == expected
    assert found.dtype == dtype


@pytest.mark.parametrize(("tensors", "longest"), [(RAGGED, 4), (ITEMS, 6)])
def test_the_max_element_count_is_a_shape(tensors: list[Tensor], longest: int) -> None:
    assert stand_in.batch_input("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", tensors, "TYPE_FP32").shape == (longest,)


def test_an_unknown_batch_input_is_named_with_what_is_supported() -> None:
    with pytest.raises(ValueError, match="BATCH_OTHER is not supported; supported are BATCH_ELEMENT_COUNT, "):
        stand_in.batch_input("BATCH_OTHER", RAGGED, "TYPE_INT32")


def test_ragged_inputs_are_concatenated_in_request_order() -> None:
    requests = [torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5]]), torch.tensor([[6, 7, 8]])]
    assert stand_in.join(requests, ragged=True).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_other_inputs_are_stacked_as_rows() -> None:
    requests = [torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 6]])]
    assert stand_in.join(requests, ragged=False).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_scatter_gives_each_request_the_shape_of_its_input() -> None:
    output = torch.arange(2 * 3 * 2 + 1 * 2 * 2).view(-1, 2)
    first, second = stand_in.scatter_with_input_shape(output, [-1, 2], zeros((2, 3), (1, 2)))
    assert first.tolist() == output[:6].view(2, 3, 2).tolist()
    assert second.tolist() == output[6:].view(1, 2, 2).tolist()


def test_scatter_replaces_each_variable_dimension_by_the_one_at_its_place() -> None:
    parts = stand_in.scatter_with_input_shape(torch.arange(2 * 3 + 1 * 4 * 2), [-1, -1], zeros((1, 2, 3), (1, 4, 2)))
    assert [tuple(part.shape) for part in parts] == [(1, 2, 3), (1, 4, 2)]
    assert torch.cat([part.flatten() for part in parts]).tolist() == list(range(14))


@pytest.mark.parametrize("elements", [9, 11])
def test_scatter_refuses_an_output_that_does_not_add_up(elements: int) -> None:
    with pytest.raises(ValueError, match=f"returned {elements} elements, the requests of the batch need 10"):
        stand_in.scatter_with_input_shape(torch.zeros(elements), [-1], RAGGED)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b", "a"], ["a", "b"]),
        (["INPUT__1", "INPUT__0"], ["INPUT__0", "INPUT__1"]),
        (["ids__1", "a__b__0"], ["a__b__0", "ids__1"]),
        (["a"], ["a"]),
    ],
    ids=str,
)
def test_arguments_go_by_name_or_by_index(names: list[str], expected: list[str]) -> None:
    assert stand_in.argument_order(names, ["a", "b"]) == expected


def test_index_10_comes_behind_index_9() -> None:
    names = [f"x__{index}" for index in range(11)]
    assert stand_in.argument_order(sorted(names), []) == names


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["a", "other"], "'a' is neither an argument of forward \\(a, b\\)"),
        (["a", "INPUT__0"], "'a' is neither"),
        (["INPUT__x"], "'INPUT__x' is neither"),
        (["x__0", "x__2"], "x__0, x__2 must be 0 to 1"),
        (["x__0", "y__0"], "x__0, y__0 must be 0 to 1"),
        (["x__1"], "must be 0 to 0"),
    ],
    ids=str,
)
def test_names_without_an_order_are_an_error(names: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        stand_in.argument_order(names, ["a", "b"])


def test_an_output_of_another_dtype_is_an_error() -> None:
    with pytest.raises(ValueError, match="'OUT' of the model is TYPE_BF16, the configuration says TYPE_FP32"):
        stand_in.check_output_dtype("OUT", torch.zeros(1, dtype=torch.bfloat16), "TYPE_FP32")


class Ragged(nn.Module):
    """Two outputs: each element beside its row's length, and the length of each row."""

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        sizes = lengths.flatten()
        return torch.stack([ids, torch.repeat_interleave(sizes, sizes)], dim=1), lengths


class Doubled(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return 2 * first - second


RAGGED_CONFIG = {
    "input": [{"name": "ids", "data_type": "TYPE_INT32", "dims": [-1], "allow_ragged_batch": True}],
    "batch_input": [
        {
            "kind": "BATCH_ITEM_SHAPE",
            "target_name": ["lengths"],
            "data_type": "TYPE_INT32",
            "source_input": ["ids"],
        }
    ],
    "output": [
        {"name": "pairs", "data_type": "TYPE_INT32", "dims": [-1, 2]},
        {"name": "rows", "data_type": "TYPE_INT32", "dims": [1]},
    ],
    "batch_output": [
        {"target_name": ["pairs"], "kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "source_input": ["ids"]},
    ],
}


def plain_config(*names: str, output_type: str = "TYPE_FP32") -> dict[str, Any]:
    return {
        "input": [{"name": name, "data_type": "TYPE_FP32", "dims": [2], "allow_ragged_batch": False} for name in names],
        "output": [{"name": "OUT", "data_type": output_type, "dims": [2]}],
    }


def load(module: nn.Module, config: dict[str, Any], folder: Path) -> Any:
    torch.jit.script(module).save(str(folder / "model.pt"))
    return stand_in.TorchScriptModel(folder / "model.pt", config, torch.device("cpu"))


def test_a_ragged_batch_comes_back_as_each_request_sent_it(tmp_path: Path) -> None:
    model = load(Ragged(), RAGGED_CONFIG, tmp_path)
    requests = [
        {"ids": torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.int32)},
        {"ids": torch.tensor([[7]], dtype=torch.int32)},
    ]
    (pairs, rows), (other_pairs, other_rows) = model.run(requests)
    assert pairs.tolist() == [[[1, 3], [2, 3], [3, 3]], [[4, 3], [5, 3], [6, 3]]]
    assert rows.tolist() == [[3], [3]]
    assert other_pairs.tolist() == [[[7, 1]]]
    assert other_rows.tolist() == [[1]]


@pytest.mark.parametrize("names", [("second", "first"), ("INPUT__1", "INPUT__0")], ids=str)
def test_plain_inputs_are_batched_and_split_by_rows(names: tuple[str, str], tmp_path: Path) -> None:
    model = load(Doubled(), plain_config(*names), tmp_path)
    second, first = names
    requests = [
        {first: torch.tensor([[1.0, 2.0], [3.0, 4.0]]), second: torch.ones(2, 2)},
        {first: torch.tensor([[5.0, 6.0]]), second: torch.zeros(1, 2)},
    ]
    (one,), (two,) = model.run(requests)
    assert one.tolist() == [[1.0, 3.0], [5.0, 7.0]]
    assert two.tolist() == [[10.0, 12.0]]


def test_a_module_that_returns_another_dtype_fails_the_batch(tmp_path: Path) -> None:
    model = load(Doubled(), plain_config("first", "second", output_type="TYPE_FP16"), tmp_path)
    with pytest.raises(ValueError, match="'OUT' of the model is TYPE_FP32, the configuration says TYPE_FP16"):
        model.run([{"first": torch.ones(1, 2), "second": torch.ones(1, 2)}])


def test_a_configured_output_that_the_module_lacks_is_an_error(tmp_path: Path) -> None:
    config = plain_config("first", "second")
    config["output"] = [config["output"][0], {**config["output"][0], "name": "MORE"}]
    model = load(Doubled(), config, tmp_path)
    with pytest.raises(ValueError, match="zip"):
        model.run([{"first": torch.ones(1, 2), "second": torch.ones(1, 2)}])


def test_inputs_that_forward_does_not_know_are_refused_on_loading(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'left' is neither an argument of forward \\(first, second\\)"):
        load(Doubled(), plain_config("left", "right"), tmp_path)
