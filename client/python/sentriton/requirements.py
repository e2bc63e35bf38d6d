"""What to install for a part that is missing. No package index has the distributions of this project: what bears their
names there would be somebody else's.
"""

from __future__ import annotations

import re
import shlex
from importlib import metadata

CLIENT, SERVER = "sentriton", "sentriton-server"
# An extra's line of the metadata: "pyarrow>=16; extra == 'files'".
_OF_AN_EXTRA = re.compile(r"(?P<package>[^;]+?)\s*;\s*extra == ['\"](?P<extra>[^'\"]+)['\"]")


def how_to_install(extra: str = "", distribution: str = CLIENT) -> str:
    """What to do for an `extra` of a distribution, or for the distribution itself: the end of an error message. An
    extra is the packages that the installed distribution names for it, which an index has.
    """
    if packages := _packages_of(extra, distribution):
        return f"run: pip install {shlex.join(packages)}"
    folders = "./client/python ./server" if distribution == SERVER else f"'./client/python{extra and f'[{extra}]'}'"
    wheels = "both wheels" if distribution == SERVER else "the wheel"
    return f"run in a checkout of Sentriton: pip install {folders}, or install {wheels} of a release"


def _packages_of(extra: str, distribution: str) -> list[str]:
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # the code is on the path, and not installed
        return []
    matches = filter(None, map(_OF_AN_EXTRA.fullmatch, lines))
    return [match["package"] for match in matches if match["extra"] == extra]
