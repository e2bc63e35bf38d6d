"""The canary of `sentriton health`: golden sentences, compared with sentence-transformers' vectors."""

from __future__ import annotations

import time

from sentriton.connection import Connection, ask
from sentriton.deadline import Deadline
from sentriton.endpoints import Endpoint
from sentriton.golden import HEALTH_TIMEOUT_S, HealthReport
from sentriton.questions import health_questions
from sentriton.settings import ClientSettings


def check_canary(settings: ClientSettings, timeout_s: float = HEALTH_TIMEOUT_S) -> HealthReport:
    """Embed all golden sentences at the first server of `settings`. Raises as `SentenceEncoder.health`."""
    connection = Connection(settings.addresses[0], settings)
    try:
        deadline = Deadline(timeout_s, timeout_s, time.monotonic())
        return ask(health_questions(Endpoint(connection.address, connection), deadline))
    finally:
        connection.close()
