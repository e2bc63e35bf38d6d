"""Time bounds that depend on the machine's other work."""

from __future__ import annotations

_quiet_machine = False


def set_quiet_machine(quiet: bool) -> None:
    """Called once, with the option --quiet-machine."""
    global _quiet_machine
    _quiet_machine = quiet


def is_quiet() -> bool:
    """Whether the machine has no other work (--quiet-machine)."""
    return _quiet_machine


def bound_s(quiet_s: float, busy_s: float) -> float:
    """The seconds that a step may take: `quiet_s` on a quiet machine, else `busy_s`.

    Other tests run at the same time on a busy machine, so only a real failure exceeds `busy_s`.
    """
    return quiet_s if _quiet_machine else busy_s
