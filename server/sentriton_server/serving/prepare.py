"""Writes the backend directory of the wheel's Triton into this environment: see `backends`."""

from __future__ import annotations

import sys

from sentriton_server.serving.backends import PREPARED_BACKENDS, write
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.installation import find_installation


def main() -> None:
    try:
        installation = find_installation()
        write(installation.backends, PREPARED_BACKENDS)
    except (LaunchError, OSError) as error:
        sys.exit(f"error: {error}")
    if installation.backends:
        print(f"prepared {PREPARED_BACKENDS}")
    else:
        print(f"{installation.description} has its own backends")


if __name__ == "__main__":
    main()
