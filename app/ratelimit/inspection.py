"""An operator's questions to a store: by name, through redis-py's own client, never on a request's way."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from .plan import KEY_PREFIX
from .subject import encode_subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .transport import Transport

SCAN_BATCH: Final = 500
# On each server: a question must not keep a busy store from its work.
SCAN_MAX: Final = 20_000


def name_key(subject: str, limit_key: str) -> str:
    """Return the key that ``subject`` has for one limit."""
    return f"{KEY_PREFIX}{{{encode_subject(subject)}}}:{limit_key}"


def name_pattern(subject: str) -> str:
    """Return the pattern of all keys of ``subject``; its encoding leaves nothing in it that a pattern would heed."""
    return name_key(subject, "*")


def scan(transport: Transport, pattern: str = f"{KEY_PREFIX}*") -> Iterator[tuple[str, int]]:
    """Yield each key with the units that it holds, of at most ``SCAN_MAX`` keys on each server.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    for client in transport.clients():
        keys = itertools.islice(client.scan_iter(match=pattern, count=SCAN_BATCH), SCAN_MAX)
        while batch := list(itertools.islice(keys, SCAN_BATCH)):
            pipeline = client.pipeline(transaction=False)
            for key in batch:
                pipeline.zcard(key)
                pipeline.zrange(key, 0, 0, withscores=True)
                pipeline.zrange(key, -1, -1, withscores=True)
            answers = pipeline.execute()
            for place, key in enumerate(batch):
                units, head, tail = answers[place * 3 : place * 3 + 3]
                if units and not key.endswith(b":e"):
                    units = int(tail[0][1]) - (int(head[0][1]) if head[0][0] == b"0" else 0)
                yield key.decode(), int(units)


def unlink(transport: Transport, pattern: str) -> bool:
    """Delete the keys of ``pattern``; say whether there were any.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    was_known = False
    for client in transport.clients():
        for key in client.scan_iter(match=pattern, count=SCAN_BATCH):
            was_known = bool(client.unlink(key)) or was_known
    return was_known
