"""Server settings that cannot be are refused."""

from __future__ import annotations

import pytest

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.settings import ServerSettings


def test_a_row_cache_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(LaunchError, match=r"--row-cache-mib is -1; it must be 0 \(off\) or more MiB"):
        ServerSettings(row_cache_mib=-1)


def test_a_connection_lives_for_a_second_at_least() -> None:
    with pytest.raises(LaunchError, match="--max-connection-age is 0; it must be 1 or more seconds"):
        ServerSettings(max_connection_age_s=0)
