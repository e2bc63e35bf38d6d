"""Triton's log: the parts of a line, the shown lines, and the reason of a failed start."""

from __future__ import annotations

import pytest

from sentriton_server.serving.log import LogLine, crash_signal, explain_failure, is_worth_showing, parse, unhealthy_stub


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'I1123 19:56:15.123456 4711 model_lifecycle.cc:472] "loading: encoder:1"\n',
            LogLine("info", "19:56:15", "loading: encoder:1"),
        ),
        (
            "W1123 19:56:15.000001 4711 pinned_memory_manager.cc:271] Unable to allocate pinned system memory, pinned "
            "memory pool will not be available: CUDA driver version is insufficient for CUDA runtime version\n",
            LogLine(
                "warning",
                "19:56:15",
                "Unable to allocate pinned system memory, pinned memory pool will not be available: CUDA driver "
                "version is insufficient for CUDA runtime version",
            ),
        ),
        (
            "E0101 00:00:00.000000 1 model_lifecycle.cc:654] \"failed to load 'encoder' version 1: Internal: it\"\n",
            LogLine("error", "00:00:00", "failed to load 'encoder' version 1: Internal: it"),
        ),
        ("F0101 00:00:00.000000 1 server.cc:1] gone", LogLine("error", "00:00:00", "gone")),
        ("a model's own print\n", LogLine("info", "", "a model's own print")),
        ("+------------+---------+\n", LogLine("info", "", "+------------+---------+")),
        ("\n", LogLine("info", "", "")),
        ("I think: this is no log line", LogLine("info", "", "I think: this is no log line")),
    ],
)
def test_lines_of_the_log_are_read(line: str, expected: LogLine) -> None:
    assert parse(line) == expected


# The lines of Triton 24.10 on a host without a GPU.
WITHOUT_GPU = [
    LogLine(
        "warning",
        "",
        "Unable to allocate pinned system memory, pinned memory pool will not be available: CUDA driver version is "
        "insufficient for CUDA runtime version",
    ),
    LogLine("error", "", "CudaDriverHelper has not been initialized."),
    LogLine(
        "error",
        "",
        "unable to create stream for embed_batch: CUDA driver version is insufficient for CUDA runtime version",
    ),
    LogLine("warning", "", "DCGM unable to start: DCGM initialization error"),
    LogLine(
        "warning",
        "",
        "failed to allocate pinned system memory: no pinned memory pool, falling back to non-pinned system memory",
    ),
]


@pytest.mark.parametrize("line", WITHOUT_GPU)
def test_a_missing_gpu_is_shown_only_if_the_model_needs_one(line: LogLine) -> None:
    assert not is_worth_showing(line, "cpu")
    assert is_worth_showing(line, "gpu")


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (LogLine("info", "", "loading: encoder:1"), False),
        (LogLine("warning", "", "request was cancelled"), True),
        (LogLine("error", "", "Stub process 'encoder_0_0' is not healthy."), True),
        (LogLine("error", "", "PyTorch execute failure: cudaErrorIllegalAddress: an illegal memory access"), True),
        (LogLine("warning", "", "Failed to allocate memory from CUDA memory pool for output tensor: no room"), True),
        (LogLine("error", "", "Unable to get a lock of the tokenizer's cache"), True),
        (LogLine("error", "", "a model says: DCGM unable to start: DCGM initialization error"), True),
    ],
)
def test_only_what_matters_is_shown(line: LogLine, shown: bool, device: str) -> None:
    assert is_worth_showing(line, device) is shown


def test_a_line_prints_with_time_and_level() -> None:
    assert str(LogLine("error", "19:56:15", "gone")) == "19:56:15 error   gone"


def test_a_failure_is_explained_by_the_model_that_did_not_load() -> None:
    lines = [
        'I1123 19:56:15.1 4711 model_lifecycle.cc:472] "loading: encoder:1"',
        'E1123 19:56:15.2 4711 backend_model.cc:692] "ERROR: Failed to create instance"',
        "E1123 19:56:15.3 4711 model_lifecycle.cc:654] \"failed to load 'encoder' version 1: Internal: there is no "
        'model.pt at /r/encoder/1; export the checkpoint first"',
        "E1123 19:56:15.4 4711 model_repository_manager.cc:703] \"Invalid argument: ensemble 'embed_text' depends\"",
    ]
    expected = "model encoder: Internal: there is no model.pt at /r/encoder/1; export the checkpoint first"
    assert explain_failure([parse(line) for line in lines], "cpu") == expected


def test_without_such_a_line_the_first_error_explains() -> None:
    assert explain_failure(
        [LogLine("info", "", "fine"), LogLine("error", "", "first"), LogLine("error", "", "next")], "cpu"
    ) == ("first")


def test_a_failure_of_the_gpu_explains_a_server_with_a_gpu() -> None:
    lines = [LogLine("error", "", "CudaDriverHelper has not been initialized.")]
    assert explain_failure(lines, "gpu") == "CudaDriverHelper has not been initialized."
    assert "--verbose" in explain_failure(lines, "cpu")


def test_a_silent_failure_says_what_to_do() -> None:
    assert "--verbose" in explain_failure([LogLine("info", "", "fine")], "cpu")


@pytest.mark.parametrize(
    ("line", "stub"),
    [
        ("E1123 19:56:15.2 4711 model.py:202] \"Stub process 'encoder_0_0' is not healthy.\"", "encoder_0_0"),
        (
            "E1123 19:56:15.2 4711 infer.cc:1] in ensemble 'embed_batch', Stub process 'pooling_0_1' is not healthy.",
            "pooling_0_1",
        ),
        # A line that is not Triton's own may have a caller's words at its start.
        ("Stub process 'encoder_0_0' is not healthy.", None),
        ("I1123 19:56:15.2 4711 infer.cc:1] Stub process 'encoder_0_0' is not healthy.", None),
        ("E1123 19:56:15.2 4711 infer.cc:1] [request id: Stub process 'a' is not healthy] no such input", None),
    ],
)
def test_a_sick_stub_is_named_by_tritons_own_errors_alone(line: str, stub: str | None) -> None:
    assert unhealthy_stub(parse(line)) == stub


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("Signal (11) received.", 11),
        ("Signal (6) received.", 6),
        ("Signal (15) received.", None),
        ('E1126 01:44:42.123456 1 model.py:171] "Signal (11) received."', None),
        ("a caller's Signal (11) received.", None),
    ],
)
def test_a_crash_is_told_from_a_request_to_end(line: str, number: int | None) -> None:
    assert crash_signal(parse(line)) == number
