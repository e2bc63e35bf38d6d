"""The stand-in for Triton's libtorch backend against NVIDIA's documentation (pytorch_backend/README.md)."""

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


class Doubled(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return 2 * first - second


def plain_config(*names: str, output_type: str = "TYPE_FP32") -> dict[str, Any]:
    return {
        "max_batch_size": 8,
        "input": [{"name": name, "data_type": "TYPE_FP32", "dims": [2], "allow_ragged_batch": False} for name in names],
        "output": [{"name": "OUT", "data_type": output_type, "dims": [2]}],
    }


def load(module: nn.Module, config: dict[str, Any], folder: Path) -> Any:
    torch.jit.script(module).save(str(folder / "model.pt"))
    return stand_in.TorchScriptModel(folder / "model.pt", config, torch.device("cpu"))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"input": [{"name": "ids", "data_type": "TYPE_INT64", "allow_ragged_batch": True}]}, "ids"),
        ({"batch_input": [{"kind": "BATCH_ITEM_SHAPE"}]}, "batch_input"),
        ({"batch_output": [{"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE"}]}, "batch_output"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_ragged_batching_is_refused_by_name(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"asks for ragged batching \({named}\)"):
        load(Doubled(), {**plain_config("first", "second"), **changed}, tmp_path)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"output": [{"name": "OUT", "data_type": "TYPE_BF16"}]}, "'OUT' is TYPE_BF16, which the libtorch backend or"),
        ({"input": [{"name": "text", "data_type": "TYPE_STRING"}]}, "'text' is TYPE_STRING"),
        ({"sequence_batching": {"max_sequence_idle_microseconds": 1}}, "asks for sequence batching"),
        ({"max_batch_size": 0}, "max_batch_size is 0"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_what_neither_has_is_refused_by_name(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        load(Doubled(), {**plain_config("first", "second"), **changed}, tmp_path)


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("False", False), (None, True)])
def test_a_parameter_says_yes_or_no(text: str | None, expected: bool) -> None:
    parameters = {} if text is None else {"INFERENCE_MODE": text}
    assert stand_in.is_true(parameters, "INFERENCE_MODE", default=True) is expected


@pytest.mark.parametrize("text", ["yes", "1", "0"])
def test_another_word_for_yes_or_no_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=f"parameter INFERENCE_MODE is '{text}'; allowed are true, false"):
        stand_in.is_true({"INFERENCE_MODE": text}, "INFERENCE_MODE", default=True)


def test_a_request_without_elements_in_a_batch_fails_it(tmp_path: Path) -> None:
    """The real backend stops filling the batch there, and answers with the previous content of its memory."""
    model = load(Doubled(), plain_config("first", "second"), tmp_path)
    empty, whole = ({"first": torch.ones(rows, 2), "second": torch.ones(rows, 2)} for rows in (0, 2))
    with pytest.raises(ValueError, match="a request of a batch has no elements"):
        model.run([empty, whole])
    assert len(model.run([whole, whole])) == 2


def test_what_forward_returns_must_be_tensors(tmp_path: Path) -> None:
    class Listed(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
            return [first, second]

    model = load(Listed(), plain_config("first", "second"), tmp_path)
    with pytest.raises(ValueError, match="neither a tensor nor a tuple of tensors"):
        model.run([{"first": torch.ones(1, 2), "second": torch.ones(1, 2)}])


def test_an_output_that_is_a_view_is_made_whole(tmp_path: Path) -> None:
    class Turned(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.stack([first[:, 0], second[:, 0]]).t()

    model = load(Turned(), plain_config("first", "second"), tmp_path)
    ((output,),) = model.run([{"first": torch.ones(3, 2), "second": torch.zeros(3, 2)}])
    assert output.is_contiguous()
    assert output.tolist() == [[1.0, 0.0]] * 3


def test_an_output_of_another_number_of_rows_is_an_error(tmp_path: Path) -> None:
    class Shortened(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return (first + second)[1:]

    model = load(Shortened(), plain_config("first", "second"), tmp_path)
    with pytest.raises(ValueError, match="the model returned 2 rows, the requests of the batch have 3"):
        model.run([{"first": torch.ones(3, 2), "second": torch.ones(3, 2)}])


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
