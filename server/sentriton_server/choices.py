"""Resolves the choices of an export: device, precision, operators and the device of the check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sentriton.errors import SentritonError
from sentriton_server.encoder import PRECISIONS, Precision, precisions_of
from sentriton_server.encoder.operators import EncoderSizes, OperatorsUnavailable
from sentriton_server.encoder.operators.choice import ChosenOperators, choose_operators
from sentriton_server.gpu_sizes import ASSUMED_MEMORY
from sentriton_server.settings import DEVICES

# Replaces fp16 if that overflows, unless the user has chosen fp16.
WIDER_THAN_FP16 = PRECISIONS["bf16"]


class ExportError(SentritonError, ValueError):
    """The checkpoint cannot be exported with these settings."""


@dataclass(frozen=True)
class Choices:
    """`device` is for serving. `checked_on` compares the export with sentence-transformers. `is_default`: the user has
    not chosen the precision.
    """

    precision: Precision
    device: str
    checked_on: str
    is_default: bool = False


def resolve_device(device: str, check_on: str = "auto") -> str:
    """Resolve `device` to cpu or gpu. `auto` uses a GPU if torch sees one. If a CPU checks the export, an export for a
    GPU needs no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if device not in DEVICES:
        raise ExportError(f"device {device!r} is unknown; allowed are {', '.join(DEVICES)}")
    if device == "gpu" and not has_gpu and check_on != "cpu":
        raise ExportError(
            "device is 'gpu', but torch sees no CUDA GPU on this machine; use --check-on cpu to export for a GPU and "
            "check the export on this CPU, or use --device cpu or auto"
        )
    return ("gpu" if has_gpu else "cpu") if device == "auto" else device


def resolve_check(check_on: str, device: str) -> str:
    """Resolve `check_on` to cpu or gpu. `auto` is the device of the export."""
    if check_on not in DEVICES:
        raise ExportError(f"check_on {check_on!r} is unknown; allowed are {', '.join(DEVICES)}")
    if check_on == "gpu" and device == "cpu":
        raise ExportError("an export for a CPU cannot be checked on a GPU; use --check-on cpu or auto")
    return device if check_on == "auto" else check_on


def resolve_precision(precision: str | None, device: str) -> Precision:
    """The named precision, or the device's default: fp32 on a CPU, fp16 on a GPU."""
    name = precision or ("fp16" if device == "gpu" else "fp32")
    allowed = precisions_of(device)
    if name not in allowed:
        raise ExportError(f"precision {name!r} is not available on {device}; allowed are {', '.join(allowed)}")
    return PRECISIONS[name]


def resolve_choices(precision: str | None, device: str, say: Callable[[str], None], check_on: str = "auto") -> Choices:
    """The choices of an export. `say` gets each automatic choice with its reason."""
    chosen_device = resolve_device(device, check_on)
    chosen = resolve_precision(precision, chosen_device)
    checked_on = resolve_check(check_on, chosen_device)
    if device == "auto":
        say(f"device {chosen_device} (auto: torch sees {'a' if chosen_device == 'gpu' else 'no'} GPU)")
    if precision is None:
        unless = f", unless it overflows: then {WIDER_THAN_FP16.name}" if chosen.name == "fp16" else ""
        say(f"precision {chosen.name} (the default on a {chosen_device.upper()}{unless})")
    return Choices(chosen, chosen_device, checked_on, is_default=precision is None)


def resolve_operators(operators: str, device: str, sizes: EncoderSizes | None) -> ChosenOperators:
    """The named operators. `auto` uses Sentriton's if they are available and suit an encoder of these sizes (None:
    any).
    """
    try:
        return choose_operators(operators, device, sizes)
    except OperatorsUnavailable as error:
        raise ExportError(str(error)) from error


def gpu_memory() -> int:
    """The memory [bytes] of the smallest GPU that torch sees, or `ASSUMED_MEMORY` without a GPU."""
    memories = [
        int(torch.cuda.get_device_properties(number).total_memory) for number in range(torch.cuda.device_count())
    ]
    return min(memories, default=ASSUMED_MEMORY)
