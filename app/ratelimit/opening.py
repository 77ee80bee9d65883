"""Opening connections that decisions can be asked over at once, and when a server that is away is tried again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from . import scripts
from .link import Link, LinkError, ReplyError, check_replies

if TYPE_CHECKING:
    from .link import Connect, Reply


PROBE_DELAY_SECONDS: Final = 0.05
PROBE_DELAY_MAX_SECONDS: Final = 0.8
PROBE_DELAY_GROWTH: Final = 1.6


def choose_pause(probes_count: int) -> float:
    """Return the seconds before the next probe of a server after so many in vain: more and more, never the same."""
    delay = min(PROBE_DELAY_SECONDS * PROBE_DELAY_GROWTH**probes_count, PROBE_DELAY_MAX_SECONDS)
    return delay * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret


def repeat_with_scripts(
    link: Link, payload: bytes, replies_count: int, deadline: float
) -> tuple[list[Reply], list[ReplyError]]:
    """Load the scripts, send ``payload`` again, and return its replies, and the errors among all.

    Raises:
        LinkError: the connection is of no further use.
    """
    answers = link.exchange(scripts.LOAD_ALL + payload, scripts.LOAD_ALL_COUNT + replies_count, deadline)
    return answers[scripts.LOAD_ALL_COUNT :], [reply for reply in answers if isinstance(reply, ReplyError)]


def open_link(connect: Connect, *, opening_seconds: float, timeout_seconds: float, generation: int) -> Link:
    """Return a new link whose server knows the scripts; its first answer may take ``opening_seconds``.

    Raises:
        redis.exceptions.RedisError, LinkError, OSError, ValueError: there is none to be had.
    """
    link = Link(connect(timeout_seconds=opening_seconds), timeout_seconds=opening_seconds, generation=generation)
    try:
        deadline = time.monotonic() + opening_seconds
        check_replies(link.exchange(scripts.LOAD_ALL, scripts.LOAD_ALL_COUNT, deadline))
        link.limit_wait(timeout_seconds)
    except LinkError:
        link.close()
        raise
    return link
