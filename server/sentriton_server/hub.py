"""The model hub. Its client retries for more than a minute without a network. So a connection is tried first, and
without one only the hub's cache is asked.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from sentriton.errors import InvalidInput

# Other frameworks' copies of the same weights.
_UNNEEDED_FILES = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "onnx/*", "openvino/*"]
_PICKLED_FILES = ["*.bin"]
_CONNECT_S = 3.0


def is_reachable() -> bool:
    """Whether the hub's host can be connected to; behind a proxy only a request could tell."""
    from huggingface_hub import constants

    endpoint = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or endpoint.hostname is None:
        return False
    if getproxies().get(endpoint.scheme):
        return True
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        with socket.create_connection((endpoint.hostname, port), _CONNECT_S):
            return True
    except OSError:
        return False


def download(hub_id: str, *, allow_pickle: bool) -> Path:
    """The folder of a model in the hub's cache, fetched if the hub can be reached; pickled weights only where
    `allow_pickle` says so. Raises `InvalidInput` of one line.
    """
    from huggingface_hub import snapshot_download

    reachable = is_reachable()
    ignored = _UNNEEDED_FILES if allow_pickle else [*_UNNEEDED_FILES, *_PICKLED_FILES]
    try:
        return Path(snapshot_download(hub_id, ignore_patterns=ignored, local_files_only=not reachable))
    except Exception as error:  # of the hub's client, of the transport beneath it, of the file system
        if not reachable:
            raise InvalidInput(
                f"there is no folder {hub_id!r} here, and the hub did not deliver it: it cannot be reached, and its "
                "cache has no such model; check the name and the network"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInput(f"there is no folder {hub_id!r} here, and the hub did not deliver it: {reason}") from error


def prepare_libraries() -> None:
    """Set the variables of libraries, before they are imported, for a command that reads models and data sets of the
    hub: no progress bars but on a terminal, and no requests without a network.
    """
    if not sys.stderr.isatty():
        for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
    if "HF_HUB_OFFLINE" not in os.environ and not is_reachable():
        os.environ["HF_HUB_OFFLINE"] = "1"
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True
