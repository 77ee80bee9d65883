"""An operator's questions about what was counted, answered from Redis or from this process."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from redis.exceptions import RedisError

from .errors import RateLimitStoreAway
from .memory import MemoryStore
from .plan import name_limit
from .redis import Topology
from .redis import inspection as redis_inspection
from .refusals import RefusalCache, RefusalTally, list_minutes
from .store import Held, StoreUnavailable
from .subject import decode_subject, encode_subject
from .unsynced import UnsyncedCharges


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise RateLimitStoreAway(retry_after_seconds=1) from error


@dataclass(eq=False)
class Inspector:
    """Answers an operator's questions from the store, or from this process where there is none."""

    topology: Topology | None
    memory: MemoryStore
    unsynced: UnsyncedCharges
    refusals: RefusalCache
    refused: RefusalTally

    def __post_init__(self) -> None:
        """Have a lock."""
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        # Two who told at once would tell the same.
        self._telling = threading.Lock()

    @_asking()
    def find_evicting_policies(self) -> list[str]:
        """Ask every server now; return the policies by which they forget windows when their memory is full.

        A server that does not let us ask for its policy is taken to have none.

        Raises:
            RateLimitStoreAway: nobody knows.
        """
        return [] if self.topology is None else sorted(set(redis_inspection.find_evicting_policies(self.topology)))

    @_asking()
    def show(self, *subjects: str) -> list[Held]:
        """Return what the windows of ``subjects`` hold, the fullest first; units that just left may still be counted.

        Raises:
            RateLimitStoreAway: nobody knows.
        """
        if self.topology is not None:
            return _rank(redis_inspection.find_held(self.topology, subjects))
        return _rank(
            _describe(subject, key, units) for subject in subjects for key, units in self.memory.show(subject).items()
        )

    @_asking()
    def clear(self, *subjects: str) -> bool:
        """Forget all that was counted against ``subjects``; say whether there was anything.

        Other processes that refused one a moment ago go on refusing for up to a second.

        Raises:
            RateLimitStoreAway: it was not forgotten there; what this process counted by itself was.
        """
        was_known = False
        for subject in subjects:
            was_known = self.memory.clear(subject) or was_known
        self.unsynced.take(*subjects)
        self.refusals.clear()
        if self.topology is not None:
            was_known = redis_inspection.unlink(self.topology, subjects) or was_known
        return was_known

    @_asking()
    def rank(self, count: int = 20) -> list[Held]:
        """Return the fullest windows, of as many as were looked at.

        Raises:
            RateLimitStoreAway: nobody knows.
        """
        if self.topology is None:
            return [_describe(subject, key, units) for subject, key, units in self.memory.rank(count)]
        return _rank(redis_inspection.find_held(self.topology))[:count]

    @_asking()
    def count_refused(self, *, minutes: int = 5) -> dict[tuple[str, str], int]:
        """Return the refusals of the last ``minutes`` by the limit's name and the subject, the most frequent first.

        They are those of all processes that share a store, as far as they told of them, and of this one.

        Raises:
            RateLimitStoreAway: nobody knows.
        """
        if self.topology is None:
            return dict(self.refused.count(minutes=minutes).most_common())
        self.tell_refused()
        return dict(redis_inspection.count_refusals(self.topology, list_minutes(minutes)).most_common())

    def tell_refused(self) -> None:
        """Tell the store of refusals since the last time; while it is away they wait."""
        if self.topology is None:
            return
        with self._telling:
            portions = redis_inspection.divide(self.refused.take_untold())
            for place, portion in enumerate(portions):
                try:
                    redis_inspection.tell_refusals(self.topology, portion)
                except StoreUnavailable:
                    for untold in portions[place:]:
                        self.refused.restore(untold)
                    return


def _rank(rows: Iterable[Held]) -> list[Held]:
    return sorted(rows, key=lambda row: -row.units)


def _describe(subject: str, key: str, units: int) -> Held:
    # As a store would know it: by its hash, if the subject is long.
    return Held(decode_subject(encode_subject(subject)), name_limit(key), units)
