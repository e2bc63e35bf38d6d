"""Whether the processor has the instructions that a precision needs."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Flags of x86 and features of Arm: products of 8-bit numbers, summed in 32 bits by one instruction.
_INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
# With these instructions alone, Sentriton's operators compute int8 faster than fp32, with weights of 7 to 8 bits.
_INT8_BY_OPERATORS = {"avx2", "fma"}


def int8_warning(precision: str, operators: str, cpuinfo: Path = _CPUINFO) -> str | None:
    """The cost of int8 on this processor, and the remedy. None for another precision, if the processor has instructions
    for int8, or if the `operators` need none. A processor whose flags cannot be read counts as having them.
    """
    if precision != "int8":
        return None
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    flags = next((set(value.split()) for name, _, value in fields if name.strip() in ("flags", "Features")), None)
    if flags is None or _INT8_PRODUCTS & flags:
        return None
    if operators == "sentriton" and flags >= _INT8_BY_OPERATORS and "avx512f" not in flags:
        return None
    return (
        "this processor has no instructions for int8 (avx512_vnni, avx_vnni, amx_int8 or asimddp), so products take "
        "about twice the time and vectors may deviate more; use another processor, or --precision fp32"
    )
