"""The order of embed_tokens: a batch is computed, the next may leave, the answers are sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sentriton_server.resources import load_model_code

BACKEND = "triton_python_backend_utils"


class Scheduler:
    """Gives one batch."""

    def __init__(self, calls: list[str]) -> None:
        self.calls, self.batches = calls, ["batch"]

    def take(self) -> str | None:
        return self.batches.pop() if self.batches else None

    def done(self, batch: str, computed: bool) -> None:
        self.calls.append(f"done {computed}")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = set(sys.modules)
    backend: Any = ModuleType(BACKEND)
    backend.TritonError = type("TritonError", (), {"INTERNAL": 13})
    monkeypatch.setitem(sys.modules, BACKEND, backend)
    code = load_model_code("embed_tokens", "model")
    monkeypatch.setattr(code, "pb_utils", backend)
    model = code.TritonPythonModel()
    model.calls = []
    model.scheduler = Scheduler(model.calls)
    model.embed = lambda batch: model.calls.append("embed") or np.zeros([1, 4])
    model.deliver = lambda batch, embeddings: model.calls.append("deliver")
    model.fail = lambda batch, message, code: model.calls.append(f"fail {message}")
    yield model
    for name in set(sys.modules) - before:  # they have this backend
        if name.startswith("sentriton_model_embed_tokens."):
            del sys.modules[name]


def test_with_a_gpu_the_next_batch_may_leave_before_the_answers(model: Any) -> None:
    model.on_gpu = True
    model.work()
    assert model.calls == ["embed", "done True", "deliver"]


def test_on_a_cpu_the_next_batch_leaves_after_the_answers(model: Any) -> None:
    model.on_gpu = False
    model.work()
    assert model.calls == ["embed", "deliver", "done True"]


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_batch_that_fails_frees_its_place_once(model: Any, on_gpu: bool) -> None:
    def fail(batch: str) -> None:
        raise MemoryError("no memory")

    model.on_gpu, model.embed = on_gpu, fail
    model.work()
    assert model.calls == ["fail MemoryError: no memory", "done False"]
