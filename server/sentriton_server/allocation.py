"""Makes glibc return freed memory to the system."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_OWN_MAPPING_BYTES = 1 << 20


def return_freed_memory() -> None:
    """Make glibc return the memory of each large block as soon as it is freed.

    By default glibc raises its threshold up to 32 MiB as blocks are freed, and allocates smaller blocks from a heap.
    Loaded and freed weights then leave holes in the heap, which took as much memory as the weights themselves.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
