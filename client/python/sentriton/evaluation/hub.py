"""Checks whether the model hub answers, since its client retries for over half a minute."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread

ABSENT = "it does not answer, and its cache has no such {}; check the name and the network"
_ANSWER_S = 4.0


def hub_answers() -> bool:
    """Whether the hub answers within four seconds. False if its client is set to offline."""
    from huggingface_hub import constants, get_session

    answered = Event()

    def ask() -> None:
        with suppress(Exception):
            get_session().head(constants.ENDPOINT, timeout=_ANSWER_S)
            answered.set()

    if not constants.HF_HUB_OFFLINE:
        # In a thread, since DNS has no timeout.
        asking = Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_ANSWER_S)
    return answered.is_set()
