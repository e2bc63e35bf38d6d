"""Triton's limit of file descriptors, and so of connections."""

from __future__ import annotations

import resource

_MOST = 65_536


def raise_limit(pid: int) -> None:
    """Raise a process's soft limit, which is 1024 on many machines, to its hard one or 65,536. At the limit, Triton
    accepts no further connections and logs nothing.
    """
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
