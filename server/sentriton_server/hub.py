"""Downloads from the model hub. Without a network, the hub's client retries for more than a minute. So this sends one
request first, and without an answer uses only the hub's cache.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sentriton.errors import InvalidInput
from sentriton.evaluation.hub import ABSENT, hub_answers

# Copies of the weights for other frameworks.
_UNNEEDED_FILES = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "onnx/*", "openvino/*"]
_PICKLED_FILES = ["*.bin"]


def download(hub_id: str, *, allow_pickle: bool) -> Path:
    """The folder of a model in the hub's cache, after a download if the hub answers. `allow_pickle` permits pickled
    weights. Raises `InvalidInput`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    answers = hub_answers()
    ignored = _UNNEEDED_FILES if allow_pickle else [*_UNNEEDED_FILES, *_PICKLED_FILES]
    try:
        return Path(snapshot_download(hub_id, ignore_patterns=ignored, local_files_only=not answers))
    except Exception as error:  # from the hub's client, its transport or the file system
        if not answers:
            reason = ABSENT.format("model")
        elif isinstance(error, RepositoryNotFoundError):
            reason = "it has no such model, or shows it to other accounts alone; check the name, or set $HF_TOKEN"
        else:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInput(f"no folder {hub_id!r} exists, and the hub did not deliver it: {reason}") from error


def prepare_libraries() -> None:
    """Set environment variables of the hub's libraries, before their import. They turn progress bars off without a
    terminal, and requests off without a network.
    """
    if not sys.stderr.isatty():
        for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
    if "HF_HUB_OFFLINE" not in os.environ and not hub_answers():
        os.environ["HF_HUB_OFFLINE"] = "1"
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True
