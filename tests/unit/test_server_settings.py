"""Invalid server settings are rejected."""

from __future__ import annotations

import pytest

from sentriton.errors import InvalidInput
from sentriton_server.settings import ServerSettings


def test_a_row_cache_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"row_cache_mib is -1; allowed are whole numbers of MiB from 0 \(off\)"):
        ServerSettings(row_cache_mib=-1)


def test_a_connection_lives_for_a_second_at_least() -> None:
    with pytest.raises(InvalidInput, match="max_connection_age_s is 0; allowed are whole numbers of seconds from 1"):
        ServerSettings(max_connection_age_s=0)
