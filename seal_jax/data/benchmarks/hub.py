"""The Hugging Face hub, asked once whether it answers: its client goes on retrying for minutes, for every file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

ATTEMPTS, PAUSE_SECONDS = 2, 1.0


@contextlib.contextmanager
def reached() -> Iterator[str]:
    """Within it `datasets` loads from the hub or, where that does not answer, at once what was downloaded before.

    Yields why the hub is left out, "" if it is not. It is asked twice, each time for as long as HF_HUB_ETAG_TIMEOUT
    says (10 s), by the way that all requests take (HF_ENDPOINT, proxies); any answer counts, an error's too.
    """
    from datasets import config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    silent = "offline mode is on (HF_HUB_OFFLINE)" if any(before) else _silence(config.HF_ENDPOINT)
    try:
        if silent:
            constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
        yield silent
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def _silence(endpoint: str) -> str:
    """What is in the way of an address, "" if it answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_SECONDS if attempt else 0.0)
        try:
            get_session().head(endpoint, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except Exception as error:  # of the client's own many kinds
            reason = f"{endpoint} does not answer ({str(error) or type(error).__name__})"
        else:
            return ""
    return reason
