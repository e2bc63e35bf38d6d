"""The memory of Triton and of the processes of its Python models."""

from __future__ import annotations

import os

import psutil


def resident_bytes() -> dict[str, int]:
    """Resident memory of `tritonserver` and of each stub, by model instance such as `encoder_0_0`. Shared memory counts
    for every process that has touched it.
    """
    # This process is a stub, and Triton is its parent.
    triton = psutil.Process(os.getppid())
    found = {"tritonserver": triton.memory_info().rss}
    for child in triton.children():
        # A process may end meanwhile. A stub's last arguments are the model instance and its backend.
        try:
            found[child.cmdline()[-2]] = child.memory_info().rss
        except (psutil.Error, IndexError):
            continue
    return found
