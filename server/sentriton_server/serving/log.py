"""Parses Triton's log, and drops lines that do not help an operator."""

from __future__ import annotations

import re
from dataclasses import dataclass

# I1123 19:56:15.123456 4711 model_lifecycle.cc:472] "loading: encoder:1"
_LINE = re.compile(r"^([IWEF])\d{4} (\d\d:\d\d:\d\d)\.\d+ \d+ [\w.]+:\d+\] (.*)$")
_LOAD_FAILURE = re.compile(r"failed to load '(\w+)' version \d+: (.*)")
UNHEALTHY = "is not healthy"  # Triton's words for a stub that ended or hung
# Matched at the line's start, which no caller can forge: Triton puts a request's id in brackets before its message.
# SIGILL, SIGABRT, SIGBUS, SIGFPE and SIGSEGV are faults. Other signals ask Triton to end.
_CRASH = re.compile(r"Signal \((4|6|7|8|11)\) received")
_UNHEALTHY_STUB = re.compile(rf"(?:in ensemble '\w+', )?Stub process '(\w+)' {UNHEALTHY}")
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "error"}
# The beginnings of the warnings and errors that Triton prints on a host without a GPU. A model may log the same words.
_WITHOUT_GPU = (
    "Unable to allocate pinned system memory, pinned memory pool will not be available: ",
    "failed to allocate pinned system memory: no pinned memory pool, ",
    "CudaDriverHelper has not been initialized.",
    "unable to create stream for ",
    "DCGM unable to start: ",
    "error initializing DCGM, GPU metrics will not be available",
    "Cannot get CUDA device count, GPU metrics will not be available",
)


@dataclass(frozen=True)
class LogLine:
    """One line of Triton's log. `level` is info, warning or error. Other lines, such as the output of a model, are
    info.
    """

    level: str
    time: str
    message: str

    def __str__(self) -> str:
        return f"{self.time} {self.level:7} {self.message}".strip()


def parse(line: str) -> LogLine:
    """Parse a line in the format of Triton 24.10 and later."""
    match = _LINE.match(line)
    if match is None:
        return LogLine("info", "", line.rstrip())
    level, time, message = match.groups()
    return LogLine(_LEVELS[level], time, message.strip().strip('"'))


def is_worth_showing(line: LogLine, device: str) -> bool:
    """Whether the line is a warning or an error. If the `device` of the model is cpu, lines about a missing GPU are
    expected.
    """
    return line.level != "info" and not (device == "cpu" and line.message.startswith(_WITHOUT_GPU))


def is_load_failure(line: LogLine) -> bool:
    """Whether the line reports a model that cannot be loaded."""
    return line.level == "error" and _LOAD_FAILURE.search(line.message) is not None


def unhealthy_stub(line: LogLine) -> str | None:
    """The Python stub that this line reports as unhealthy, such as encoder_0_0, or None."""
    found = _UNHEALTHY_STUB.match(line.message) if line.level == "error" else None
    return found[1] if found else None


def crash_signal(line: LogLine) -> int | None:
    """The signal of a fault that Triton reports in this line, or None. Triton then prints its stack, which takes
    seconds and never ends with a damaged heap.
    """
    found = _CRASH.match(line.message) if not line.time else None
    return int(found[1]) if found else None


def explain_failure(lines: list[LogLine], device: str) -> str:
    """The most informative sentence in the log of a Triton that did not start. The model is for `device`."""
    errors = [line.message for line in lines if line.level == "error" and is_worth_showing(line, device)]
    for message in errors:
        if found := _LOAD_FAILURE.search(message):
            return f"model {found[1]}: {found[2]}"
    return errors[0] if errors else "it said nothing about why; run with --verbose"
