"""Chooses the operators of an encoder: Sentriton's if they are available and suit it, else torch's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sentriton_server.encoder.operators import (
    EncoderSizes,
    OperatorsUnavailable,
    build_library,
    check_sizes,
    load_library,
)
from sentriton_server.settings import OPERATORS


@dataclass(frozen=True)
class ChosenOperators:
    """`library`: the loaded library of Sentriton's operators, or None for torch's. `reason`: why `auto` chose these."""

    library: Path | None
    reason: str = ""

    @property
    def name(self) -> str:
        return "torch" if self.library is None else "sentriton"

    @property
    def key(self) -> str:
        """Distinguishes exports with different operators."""
        return "torch" if self.library is None else self.library.parent.name


def choose_operators(operators: str, device: str, sizes: EncoderSizes | None) -> ChosenOperators:
    """Choose the operators for an encoder of these sizes (None: any) on a device, cpu or gpu. May compile them.

    Raises `OperatorsUnavailable` if the choice is `sentriton` and they are unavailable, and for an unknown name.
    """
    if operators not in OPERATORS:
        raise OperatorsUnavailable(f"operators {operators!r} are unknown; allowed are {', '.join(OPERATORS)}")
    if device == "gpu" and operators == "sentriton":
        raise OperatorsUnavailable(
            "operators sentriton are for a CPU, and the device is gpu; use --operators auto or torch"
        )
    if device == "gpu" or operators == "torch":
        return ChosenOperators(None)
    try:
        if sizes is not None:
            check_sizes(sizes)
        library = build_library()
        # Loads the cache's file, not an export's copy: changing a loaded file would crash this process.
        load_library(library.parent)
    except OperatorsUnavailable as error:
        if operators == "sentriton":
            raise OperatorsUnavailable(f"{error}; or use --operators torch") from error
        return ChosenOperators(None, str(error))
    return ChosenOperators(library, "they are compiled and suit the encoder's sizes" if operators == "auto" else "")
