"""Explains how to install a missing part. No package index has this project's distributions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata

from sentriton.errors import InvalidInput

CLIENT, SERVER, GATEWAY = "sentriton", "sentriton-server", "sentriton-gateway"
# A line of the metadata: "pyarrow>=16; extra == 'files'".
_LINE = re.compile(r"(?P<package>(?P<name>[\w.-]+)[^;]*?)\s*(?:;.*?(?:extra == ['\"](?P<extra>[^'\"]+)['\"])?)?")


def how_to_install(extra: str = "", distribution: str = CLIENT) -> str:
    """The end of an error message: how to install the packages of a missing `extra`, or a missing distribution."""
    packages = [match["package"] for match in _lines(distribution) if match["extra"] == extra]
    if packages:
        return f"run: pip install {shlex.join(packages)}"
    part = distribution.partition("-")[2]
    folders = f"./client/python ./{part}" if part else f"'./client/python{extra and f'[{extra}]'}'"
    wheels = "both wheels" if part else "the wheel"
    return f"run in a checkout of Sentriton: pip install {folders}, or install {wheels} of a release"


def how_to_install_module(module: str, distribution: str) -> str:
    name = module.split(".")[0].replace("_", "-")
    for match in _lines(distribution):
        if match["name"] == name:
            extra = match["extra"]
            return how_to_install(extra, distribution) if extra else f"run: pip install {shlex.quote(match['package'])}"
    return how_to_install(distribution=distribution)


def check_module(module: str, extra: str, what: str) -> None:
    """Raises `InvalidInput` if `what` needs a `module` of the client's `extra` that is not installed."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{what} needs the package {error.name}; {how_to_install(extra)}") from error


@contextmanager
def imports_of(extra: str) -> Iterator[None]:
    """Wraps imports of the client's `extra`. The error of a failed import has the remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"the package {error.name} is not installed; {how_to_install(extra)}"
        raise ModuleNotFoundError(message, name=error.name) from error


def _lines(distribution: str) -> list[re.Match[str]]:
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # the code is only on the path
        return []
    return list(filter(None, map(_LINE.fullmatch, lines)))
