"""Random messages: each is answered, other callers are not affected, and no process ends."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import ModelInferRequest

from sentriton.cli import check_canary
from sentriton.settings import ClientSettings
from tests.faults.conftest import Served, note
from tests.faults.flood import resident_bytes
from tests.faults.load import Load
from tests.faults.messages import contents

MESSAGES = int(os.environ.get("SENTRITON_FUZZ", "2000"))
SERVICE = "/inference.GRPCInferenceService/"
# All methods but those that would change the server for everybody, which take an admin's key (test_security.py).
METHODS = [*["ModelInfer"] * 8, "ModelMetadata", "ModelConfig", "ModelReady", "RepositoryModelUnload", "NoSuchMethod"]
FUZZING = settings(
    max_examples=MESSAGES,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a server that was brought down cannot tell whether a smaller message does it too
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(served.url, options=options) as channel:
        yield channel


@pytest.mark.timeout(1800)
def test_any_message_is_answered(served: Served, channel: grpc.Channel, expected: NDArray[np.float32]) -> None:
    pids = {process.pid for process in served.processes()}
    outcomes: Counter[str] = Counter()
    unclear: list[str] = []

    @FUZZING
    @given(method=st.sampled_from(METHODS), content=contents())
    def send(method: str, content: bytes) -> None:
        status, details = call(channel, method, content)
        outcomes[status] += 1
        if sum(outcomes.values()) % max(1, MESSAGES // 10) == 0:
            memory.append(resident_bytes(served.processes()) >> 20)
        # An unreadable message is INTERNAL to gRPC, and a request with an unknown key of the encoder is INTERNAL to
        # Triton. From a model only its own refusals may come.
        told = "parse request" in details or "answers embed_tokens alone" in details
        clear = status not in ("DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN") or told
        if not clear:
            unclear.append(f"{status} {details}: {describe(content)}")
        assert len(unclear) < 5, unclear

    memory = [resident_bytes(served.processes()) >> 20]
    with Load(served.url, expected, callers=1, pause_s=0.2) as load:
        send()
    report = check_canary(ClientSettings(served.url))
    note(f"fuzz: {sum(outcomes.values()):,} messages", ", ".join(f"{n:,} {what}" for what, n in outcomes.most_common()))
    note("  the server's memory before, and after each tenth of them", f"{', '.join(map(str, memory))} MiB")
    assert not unclear, unclear
    assert report.min_cosine >= report.manifest.min_cosine - 1e-6
    assert {process.pid for process in served.processes()} == pids, served.said
    assert not load.figures.errors, load.figures.errors[:3]
    assert not load.figures.refusals, load.figures.refusals[:3]
    assert load.figures.wrong == 0
    assert outcomes["OK"] > 0


def call(channel: grpc.Channel, method: str, content: bytes) -> tuple[str, str]:
    """Send bytes as they are; the status that came back, and its words."""
    try:
        channel.unary_unary(SERVICE + method)(content, timeout=10)
    except grpc.RpcError as error:
        failure: Any = error
        return failure.code().name, failure.details() or ""
    return "OK", ""


def describe(content: bytes) -> str:
    try:
        return str(ModelInferRequest.FromString(content))[:600]
    except Exception:
        return repr(content[:200])
