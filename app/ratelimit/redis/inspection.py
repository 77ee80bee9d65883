"""What an operator asks of Redis: through redis-py's own client, never on a request's way."""

import itertools
import os.path
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from app.ratelimit.plan import KEY_PREFIX, Charge, Plan, name_limit
from app.ratelimit.store import Held, Refusals
from app.ratelimit.subject import decode_subject, encode_subject

from . import Topology
from .protocol import pack_command

SCAN_BATCH: Final = 500
# On each server: a question must not keep a busy store from its work.
SCAN_MAX: Final = 20_000
# Whose slot all refusals are told in; each minute has a sorted set there.
REFUSALS_SUBJECT: Final = "refused"
REFUSALS_KEPT_MS: Final = 20 * 60 * 1000
REFUSALS_READ_MAX: Final = 1_000
# As many as a store counts well within the budget of a decision: what takes longer would seem an outage.
REFUSALS_TOLD_AT_ONCE: Final = 100


def find_evicting_policies(topology: Topology) -> Iterator[str]:
    """Yield the policies by which servers forget windows when their memory is full.

    A server that does not let us ask for its policy is taken to have none.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    for client in topology.clients():
        client.ping()
        try:
            memory = client.info("memory")
        except NoPermissionError:
            continue
        # Every window expires, so a volatile- policy takes them just as an allkeys- one does.
        if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
            yield memory["maxmemory_policy"]


def find_held(topology: Topology, subjects: Sequence[str] = ()) -> Iterator[Held]:
    """Yield what the windows of ``subjects`` hold, or everybody's: of at most ``SCAN_MAX`` keys on each server.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    for client in topology.clients():
        keys = itertools.islice(_find_keys(client, subjects), SCAN_MAX)
        while batch := list(itertools.islice(keys, SCAN_BATCH)):
            pipeline = client.pipeline(transaction=False)
            for key in batch:
                pipeline.zcard(key)
                pipeline.zrange(key, 0, 0, withscores=True)
                pipeline.zrange(key, -1, -1, withscores=True)
            answers = pipeline.execute()
            for place, key in enumerate(batch):
                units, head, tail = answers[place * 3 : place * 3 + 3]
                if units and not key.endswith(":e"):
                    units = int(tail[0][1]) - (int(head[0][1]) if head[0][0] == b"0" else 0)
                name, limit_key = _split_key(key)
                yield Held(decode_subject(name), name_limit(limit_key), int(units))


def unlink(topology: Topology, subjects: Sequence[str]) -> bool:
    """Delete the windows of ``subjects``; say whether there were any.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    was_known = False
    for client in topology.clients():
        keys = _find_keys(client, subjects)
        while batch := list(itertools.islice(keys, SCAN_BATCH)):
            pipeline = client.pipeline(transaction=False)
            for key in batch:
                pipeline.unlink(key)
            was_known = any(pipeline.execute()) or was_known
    return was_known


def divide(refusals: Refusals) -> list[Refusals]:
    """Return ``refusals`` in portions that the store counts in time, the newest first."""
    portions: list[Refusals] = []
    for minute, counter in reversed(refusals):
        rows = list(counter.items())
        portions += [
            [(minute, Counter(dict(rows[place : place + REFUSALS_TOLD_AT_ONCE])))]
            for place in range(0, len(rows), REFUSALS_TOLD_AT_ONCE)
        ]
    return portions


def tell_refusals(topology: Topology, refusals: Refusals) -> None:
    """Add ``refusals``, a portion of them, to what all processes tell.

    Raises:
        StoreUnavailable: they may not have been added.
    """
    [(server, _charges)] = topology.route([Charge(Plan([]), REFUSALS_SUBJECT)])
    payload, replies_count = _pack_refusals(refusals)
    server.call(payload, replies_count, now=time.monotonic())


def _pack_refusals(refusals: Refusals) -> tuple[bytes, int]:
    """Return the commands that add ``refusals`` to what all processes tell, and how many there are."""
    commands = []
    for minute, counter in refusals:
        key = _name_minute(minute).encode()
        for (limit, subject), count in counter.items():
            # Bounded, whatever a subject is; those beyond the names that are kept have none.
            member = f"{limit} {encode_subject(subject) if subject else ''}"
            commands.append(pack_command(b"ZINCRBY", key, b"%d" % count, member.encode()))
        commands.append(pack_command(b"PEXPIRE", key, b"%d" % REFUSALS_KEPT_MS))
    return b"".join(commands), len(commands)


def count_refusals(topology: Topology, minutes: Iterable[int]) -> Counter[tuple[str, str]]:
    """Return the refusals of ``minutes`` that all processes told, by limit and subject.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    total: Counter[tuple[str, str]] = Counter()
    keys = [_name_minute(minute) for minute in minutes]
    for client in topology.clients():
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.zrevrange(key, 0, REFUSALS_READ_MAX - 1, withscores=True)
        for rows in pipeline.execute(raise_on_error=False):
            if isinstance(rows, ResponseError):  # the slot is another master's
                continue
            for member, count in rows:
                limit, _, name = member.decode().partition(" ")
                total[limit, decode_subject(name)] += int(count)
    return total


def _name_minute(minute: int) -> str:
    return f"{KEY_PREFIX}minute:{{{REFUSALS_SUBJECT}}}:{minute}"


def _split_key(key: str) -> tuple[str, str]:
    subject, _, limit_key = key.removeprefix(f"{KEY_PREFIX}{{").partition("}:")
    return subject, limit_key


def _find_keys(client: Redis, subjects: Sequence[str]) -> Iterator[str]:
    """Yield the keys of ``subjects``, or all, in one walk; encoding leaves nothing in a name that a pattern heeds."""
    names = {encode_subject(subject) for subject in subjects}
    pattern = f"{KEY_PREFIX}{{{os.path.commonprefix(sorted(names))}*"  # noqa: RUF071 - of texts, not of paths
    for key in client.scan_iter(match=pattern, count=SCAN_BATCH):
        text = key.decode()
        if not names or _split_key(text)[0] in names:
            yield text
