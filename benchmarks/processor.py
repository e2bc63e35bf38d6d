"""Linux's description of the processor. It imports nothing of Sentriton, which the environments of peers lack."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Instruction sets for matrix products, by the kernel's flags of x86 and features of Arm.
_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bf16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "asimddp": "NEON dot products",
    "bf16": "NEON bf16",
    "i8mm": "NEON int8 products",
    "sve": "SVE",
}
_FAMILY = (("family", "cpu family"), ("model", "model"))


@dataclass(frozen=True)
class Processor:
    """`name` includes family and model if available, since a hypervisor may hide the rest. `caches` are the sizes of
    one core's caches by level, such as `L2 1024K`.
    """

    name: str
    instruction_sets: tuple[str, ...]
    caches: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join((*self.instruction_sets, *self.caches))})"


def read_processor(cpuinfo: Path = CPUINFO, caches: Path = CACHES) -> Processor:
    """The first processor that Linux lists."""
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return Processor(
        _name(fields), tuple(name for flag, name in _INSTRUCTION_SETS.items() if flag in flags), _caches(caches)
    )


def _name(fields: dict[str, str]) -> str:
    if "model name" in fields:
        family = [f"{part} {fields[key]}" for part, key in _FAMILY if key in fields]
        return f"{fields['model name']}, {', '.join(family)}" if family else fields["model name"]
    if "CPU part" in fields:
        return f"{platform.machine()}, implementer {fields.get('CPU implementer')}, part {fields['CPU part']}"
    return platform.machine()


def _caches(folder: Path) -> tuple[str, ...]:
    found = []
    for cache in sorted(folder.glob("index*")):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        if kind == "Unified":
            found.append(f"L{level} {size}")
    return tuple(found)
