"""The model hub. Its client retries for more than a minute without a network. So one request is tried first, and
without an answer only the hub's cache is asked.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sentriton.errors import InvalidInput
from sentriton.evaluation.hub import ABSENT, hub_answers

# Other frameworks' copies of the same weights.
_UNNEEDED_FILES = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "onnx/*", "openvino/*"]
_PICKLED_FILES = ["*.bin"]


def download(hub_id: str, *, allow_pickle: bool) -> Path:
    """The folder of a model in the hub's cache, fetched if the hub answers; pickled weights only where `allow_pickle`
    says so. Raises `InvalidInput` of one line.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    answers = hub_answers()
    ignored = _UNNEEDED_FILES if allow_pickle else [*_UNNEEDED_FILES, *_PICKLED_FILES]
    try:
        return Path(snapshot_download(hub_id, ignore_patterns=ignored, local_files_only=not answers))
    except Exception as error:  # of the hub's client, of the transport beneath it, of the file system
        if not answers:
            reason = ABSENT.format("model")
        elif isinstance(error, RepositoryNotFoundError):
            reason = "it has no such model, or shows it to other accounts alone; check the name, or set $HF_TOKEN"
        else:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInput(f"no folder {hub_id!r} exists, and the hub did not deliver it: {reason}") from error


def prepare_libraries() -> None:
    """Set the variables of libraries, before their import, for a command that reads models and data sets of the hub.
    Progress bars need a terminal, and without a network no requests are sent.
    """
    if not sys.stderr.isatty():
        for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
    if "HF_HUB_OFFLINE" not in os.environ and not hub_answers():
        os.environ["HF_HUB_OFFLINE"] = "1"
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True
