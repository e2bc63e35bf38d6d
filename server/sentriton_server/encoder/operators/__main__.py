"""Compiles the C++ operators into this environment (see the docstring of the package)."""

from __future__ import annotations

import shutil
import sys

from sentriton_server.encoder import operators


def main() -> None:
    try:
        library = operators.build_library()
        prepared = operators.PREPARED_OPERATORS / library.parent.name / library.name
        if library != prepared:
            prepared.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(library, prepared)
    except (operators.OperatorsUnavailable, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"prepared {prepared}")


if __name__ == "__main__":
    main()
