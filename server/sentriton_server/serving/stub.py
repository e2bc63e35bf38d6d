"""The process of a Python model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_STUB_NAME = "triton_python_backend_stub"
_ENDED_NAME_LETTERS = 15  # Linux keeps this many letters of the name of an ended process


@dataclass(frozen=True)
class PythonStub:
    """A Python stub. `name` is its model instance, such as encoder_0_0."""

    name: str
    process: psutil.Process

    @classmethod
    def of(cls, child: psutil.Process) -> PythonStub | None:
        """The stub in a child process of Triton, or None if the child is not a stub (yet)."""
        try:
            if not child.name().startswith(_STUB_NAME[:_ENDED_NAME_LETTERS]):
                return None
            arguments = child.cmdline()
        except psutil.ZombieProcess:  # it has no arguments any more
            return cls(f"(process {child.pid})", child)
        except psutil.NoSuchProcess:
            return None
        # The stub's last arguments are the model instance and its backend. In an exec, Linux sets the name first, so
        # a stub that begins may have its name but no arguments.
        return cls(arguments[-2], child) if len(arguments) > 2 else None

    def is_alive(self) -> bool:
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def was_killed(self) -> bool:
        """Whether a signal ended the stub. False once Triton has read its exit status."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        # proc(5): field 3 is the state, field 52 the exit status in the form of wait().
        return fields[0] == "Z" and int(fields[49]) & 0x7F != 0
