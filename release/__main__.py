"""`make release`: builds into dist/, checks each file, and calls a server from clean environments.

    .venv/bin/python -m release

To release, set `__version__` in client/python/sentriton/__init__.py. The server, the gateway, their required client and
the Node client follow. This publishes nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from release.build import CLIENT, GATEWAY, ROOT, SERVER, build_node, build_wheel
from release.contents import check_client, check_gateway, check_node, check_server
from release.first_calls import check_first_calls
from sentriton import __version__


def main() -> None:
    """Put the files into dist/ if all checks pass."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="sentriton-release-") as work:
        built = Path(work) / "dist"
        built.mkdir()
        client, gateway, server = (build_wheel(part, built) for part in (CLIENT, GATEWAY, SERVER))
        node = build_node(built, __version__)
        _say(f"{client.name}: {check_client(client, __version__)}")
        _say(f"{gateway.name}: {check_gateway(gateway, __version__)}")
        _say(f"{server.name}: {check_server(server, __version__)}")
        _say(f"{node.name}: {check_node(node, __version__)}")
        check_first_calls(client, gateway, server, node, Path(work), _say)
        shutil.copytree(built, dist)
    print(f"{len(list(dist.iterdir()))} files of version {__version__} are in {dist.name}/")


def _say(text: str) -> None:
    print(f"ok  {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        raise SystemExit(f"release: {error}") from error
