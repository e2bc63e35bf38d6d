"""How glibc keeps memory that was freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_OWN_MAPPING_BYTES = 1 << 20


def return_freed_memory() -> None:
    """Return the memory of a large block to the system as soon as it is freed.

    By default glibc raises its limit up to 32 MiB as blocks are freed, and takes smaller ones from a heap. Weights that
    are loaded and freed leave holes there, which took as much memory as the weights themselves.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
