"""Whether the model hub answers. If it does not, its own client retries for half a minute and more."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread

ABSENT = "it does not answer, and its cache has no such {}; check the name and the network"
_ANSWER_S = 4.0


def hub_answers() -> bool:
    """Whether the hub answers within four seconds, with anything. False if its client is told to be offline."""
    from huggingface_hub import constants, get_session

    answered = Event()

    def ask() -> None:
        with suppress(Exception):
            get_session().head(constants.ENDPOINT, timeout=_ANSWER_S)
            answered.set()

    if not constants.HF_HUB_OFFLINE:
        # A look-up of its name knows no time-out.
        asking = Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_ANSWER_S)
    return answered.is_set()
