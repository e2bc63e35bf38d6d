"""One caller attacks while four others compare vectors. None of them gets an error or a wrong vector, and no process
ends.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton_server.serving import ServerSettings
from tests.faults.attacks import ATTACKS, NO_KEY, TENSORS, WRAPPING, wrapping_request
from tests.faults.conftest import Served, check, note, serve
from tests.faults.load import Load
from tests.ports import with_free_ports

# Allowed statuses of the attacker. None of them is a failure of the server.
CLEAR = {"OK", "INVALID_ARGUMENT", "UNAVAILABLE"}
REFUSED = {"INVALID_ARGUMENT", NO_KEY}
NEVER_ANSWERED = {
    *("sizes that wrap", "rows of no token", "requests to inner models"),
    *("requests in the canarys lane", "many requests to the encoder"),
}
LEAST_S = 3.0
# Triton 24.10 has one FIFO queue for each model, and the model rejects a request only at its turn. With a bound on that
# queue (max_queue_size), Triton misses wake-ups: calls then take half a second even without an attack.
TRITONS_OWN_QUEUE = {"many requests to the encoder"}


def attack(served: Served, name: str, expected: NDArray[np.float32]) -> Load:
    """Run callers during an attack, and check its effects."""
    pids = {process.pid for process in served.processes()}
    with Load(served.url, expected) as load:
        begun = time.monotonic()
        # In a separate process, since here the attack itself would delay the others.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as attacker:
            outcomes = attacker.submit(ATTACKS[name], served.url).result()
        time.sleep(max(0.0, LEAST_S - (time.monotonic() - begun)))
    note(f"attack: {name}", ", ".join(f"{count:,} {status}" for status, count in outcomes.most_common()))
    check(name, load)
    assert {process.pid for process in served.processes()} == pids, served.said
    assert served.restarts() == 0
    assert not load.figures.refusals, load.figures.refusals[:3]
    assert set(outcomes) <= (REFUSED if name in NEVER_ANSWERED else CLEAR), outcomes
    return load


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_harms_nobody_else(name: str, served: Served, expected: NDArray[np.float32]) -> None:
    attack(served, name, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in TRITONS_OWN_QUEUE])
def test_others_wait_at_most_five_times_as_long(name: str, served: Served, expected: NDArray[np.float32]) -> None:
    with Load(served.url, expected) as idle:
        time.sleep(LEAST_S)
    attacked = attack(served, name, expected)
    before_s, during_s = idle.figures.p99_s, attacked.figures.p99_s
    note(f"  p99 of others during {name}", f"{1e3 * during_s:.0f} ms, idle {1e3 * before_s:.0f} ms")
    assert during_s <= 5 * before_s


def post(address: str, request: Any) -> int:
    """Send a gRPC request's tensors over HTTP, in KServe's binary form; the status that came."""
    described = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(raw)},
        }
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    ]
    header = json.dumps({"inputs": described}).encode()
    body = header + b"".join(request.raw_input_contents)
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(
        "POST",
        f"/v2/models/{request.model_name}/infer",
        body,
        {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"},
    )
    status = connection.getresponse().status
    connection.close()
    return status


def test_sizes_that_wrap_harm_nobody_over_http(repository: Path, expected: NDArray[np.float32]) -> None:
    http_port = with_free_ports(ServerSettings(http_port=0)).http_port
    with serve(repository, "--http-port", http_port) as served:
        pids = {process.pid for process in served.processes()}
        with Load(served.url, expected) as load:
            statuses = {
                post(f"127.0.0.1:{http_port}", wrapping_request(model, shape, tensors))
                for model in TENSORS
                for shape in WRAPPING
                for tensors in (slice(None), slice(0, 1))
            }
            time.sleep(1)
        assert {process.pid for process in served.processes()} == pids, served.said
    check("sizes that wrap, over HTTP", load)
    assert not load.figures.refusals, load.figures.refusals[:3]
    assert statuses <= {400, 500}, "a refusal of the encoder is 500 to Triton"
