"""The table at the end of a run: how many conformance cases, and other tests of its own, each client passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

# Notes that a client's own test command passed: its language, the conformance cases and the other tests.
RecordCases = Callable[[str, int, int], None]
PROPERTY = "client's tests"
_PYTHON = "test_python.py::test_case["


def table(passed: list[Any]) -> list[str]:
    """Lines of the table, from pytest's reports of tests that passed. Python's cases are tests of pytest."""
    cases: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for report in passed:
        if _PYTHON in report.nodeid:
            cases[f"Python ({report.nodeid.partition('[')[2].partition('-')[0]})"] += 1
        for name, value in report.user_properties:
            if name == PROPERTY:
                language, conformance, rest = value
                cases[language] += conformance
                others[language] += rest
    if not cases:
        return []
    header = f"{'client':<18}{'conformance cases':>18}{'other tests':>14}"
    return [header, *(f"{name:<18}{count:>18}{others[name] or '':>14}" for name, count in sorted(cases.items()))]
