"""An operator's questions to a store: by name, through redis-py's own client, never on a request's way."""

from __future__ import annotations

import itertools
import os.path
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from redis.exceptions import NoPermissionError, ResponseError

from .decision import StoreAwayError
from .link import pack_command
from .plan import KEY_PREFIX, Charge, Plan
from .refusals import list_minutes
from .subject import decode_subject, encode_subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redis import Redis

    from .arrears import Arrears
    from .memory import MemoryStore
    from .refusals import RefusalCache, Refusals, RefusalTally
    from .transport import Transport

SCAN_BATCH: Final = 500
# On each server: a question must not keep a busy store from its work.
SCAN_MAX: Final = 20_000
# Whose slot all refusals are told in; each minute has a sorted set there.
REFUSALS_SUBJECT: Final = "refused"
REFUSALS_KEPT_MS: Final = 20 * 60 * 1000
REFUSALS_READ_MAX: Final = 1_000
# As many as a store counts well within the budget of a decision: what takes longer would seem an outage.
REFUSALS_TOLD_AT_ONCE: Final = 100


class Held(NamedTuple):
    """The units that a window holds: whose, and by which limit."""

    subject: str
    limit: str
    units: int


class Inspector:
    """Answers an operator's questions from the store, or from this process where there is none."""

    def __init__(
        self,
        transport: Transport | None,
        memory: MemoryStore,
        arrears: Arrears,
        refusals: RefusalCache,
        refused: RefusalTally,
    ) -> None:
        self._transport = transport
        self._memory = memory
        self._arrears = arrears
        self._refusals = refusals
        self._refused = refused
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin anew in a child process: locks are the parent's."""
        # Two who told at once would tell the same.
        self._telling = threading.Lock()

    def find_evicting_policies(self) -> list[str]:
        """Ask every server now; return the policies by which they forget windows when their memory is full.

        A server that does not let us ask for its policy is taken to have none.

        Raises:
            redis.exceptions.RedisError: the store is away.
        """
        return [] if self._transport is None else sorted(set(_find_evicting_policies(self._transport)))

    def show(self, *subjects: str) -> list[Held]:
        """Return what the windows of ``subjects`` hold, the fullest first; units that just left may still be counted.

        Raises:
            redis.exceptions.RedisError: the store is away.
        """
        if self._transport is not None:
            return _rank(_scan(self._transport, subjects))
        return _rank(
            _describe_key(encode_subject(subject), key, units)
            for subject in subjects
            for key, units in self._memory.show(subject).items()
        )

    def clear(self, *subjects: str) -> bool:
        """Forget all that was counted against ``subjects``; say whether there was anything.

        Other processes that refused one a moment ago go on refusing for up to a second.

        Raises:
            redis.exceptions.RedisError: the store is away; what this process counted by itself is forgotten.
        """
        was_known = False
        for subject in subjects:
            was_known = self._memory.clear(subject) or was_known
            self._arrears.clear(subject)
        self._refusals.clear()
        if self._transport is not None:
            was_known = _unlink(self._transport, subjects) or was_known
        return was_known

    def rank(self, count: int = 20) -> list[Held]:
        """Return the fullest windows, of as many as were looked at.

        Raises:
            redis.exceptions.RedisError: the store is away.
        """
        if self._transport is None:
            rows = self._memory.rank(count)
            return [_describe_key(encode_subject(subject), key, units) for subject, key, units in rows]
        return _rank(_scan(self._transport))[:count]

    def count_refused(self, *, minutes: int = 5) -> dict[tuple[str, str], int]:
        """Return the refusals of the last ``minutes`` by the limit's name and the subject, the most frequent first.

        They are those of all processes that share a store, as far as they told of them, and of this one.

        Raises:
            redis.exceptions.RedisError: the store is away.
        """
        if self._transport is None:
            return dict(self._refused.count(minutes=minutes).most_common())
        self.tell_refused()
        return dict(_count_refusals(self._transport, list_minutes(minutes)).most_common())

    def tell_refused(self) -> None:
        """Tell the store of refusals since the last time; while it is away they wait."""
        if self._transport is None:
            return
        with self._telling:
            portions = _divide(self._refused.take_untold())
            for place, portion in enumerate(portions):
                try:
                    [(node, _charges)] = self._transport.route([Charge(Plan([]), REFUSALS_SUBJECT)])
                    payload, replies_count = _pack_refusals(portion)
                    node.call(payload, replies_count, now=time.monotonic())
                except StoreAwayError:
                    for untold in portions[place:]:
                        self._refused.put_back(untold)
                    return


def _find_evicting_policies(transport: Transport) -> Iterator[str]:
    for client in transport.clients():
        client.ping()
        try:
            memory = client.info("memory")
        except NoPermissionError:
            continue
        # Every window expires, so a volatile- policy takes them just as an allkeys- one does.
        if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
            yield memory["maxmemory_policy"]


def _rank(rows: Iterable[Held]) -> list[Held]:
    return sorted(rows, key=lambda row: -row.units)


def _describe_key(name: str, limit_key: str, units: int) -> Held:
    """Return what is held under the name of a subject and a limit's key."""
    scope, seconds, _form = limit_key.rsplit(":", 2)
    return Held(decode_subject(name), f"{scope}-{seconds}", units)


def _scan(transport: Transport, subjects: Sequence[str] = ()) -> Iterator[Held]:
    """Yield what the windows of ``subjects`` hold, or everybody's: of at most ``SCAN_MAX`` keys on each server.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    for client in transport.clients():
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
                yield _describe_key(*_split_key(key), units=int(units))


def _unlink(transport: Transport, subjects: Sequence[str]) -> bool:
    """Delete the windows of ``subjects``; say whether there were any.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    was_known = False
    for client in transport.clients():
        keys = _find_keys(client, subjects)
        while batch := list(itertools.islice(keys, SCAN_BATCH)):
            pipeline = client.pipeline(transaction=False)
            for key in batch:
                pipeline.unlink(key)
            was_known = any(pipeline.execute()) or was_known
    return was_known


def _divide(refusals: Refusals) -> list[Refusals]:
    """Return ``refusals`` in portions that the store counts in time, the newest first."""
    portions: list[Refusals] = []
    for minute, counter in reversed(refusals):
        rows = list(counter.items())
        portions += [
            [(minute, Counter(dict(rows[place : place + REFUSALS_TOLD_AT_ONCE])))]
            for place in range(0, len(rows), REFUSALS_TOLD_AT_ONCE)
        ]
    return portions


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


def _count_refusals(transport: Transport, minutes: Iterable[int]) -> Counter[tuple[str, str]]:
    """Return the refusals of ``minutes`` that all processes told, by limit and subject.

    Raises:
        redis.exceptions.RedisError: the store is away.
    """
    total: Counter[tuple[str, str]] = Counter()
    keys = [_name_minute(minute) for minute in minutes]
    for client in transport.clients():
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
