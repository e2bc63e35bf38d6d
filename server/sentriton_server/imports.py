"""Imports packages of many modules."""

from __future__ import annotations

import gc
import importlib
import sys


def import_large(package: str) -> None:
    """Import a package, such as torch, without the garbage collector. It would look through a million new objects again
    and again, and once more at the end of the process: a quarter of the time.
    """
    if package in sys.modules or not gc.isenabled():
        return
    gc.disable()
    try:
        importlib.import_module(package)
    finally:
        gc.freeze()
        gc.enable()
