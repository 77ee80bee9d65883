"""The limiter as an extension of Flask: an app's limits, and what its operators may ask."""

from collections.abc import Callable, Mapping
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import Final, TypeVar

from flask import Flask, current_app
from redis.exceptions import RedisError

from .decorators import address, get_rules
from .engine import BUDGET_MS_DEFAULT, Engine
from .errors import RateLimitStoreAway
from .inspection import Inspector
from .plan import PRECISION_DEFAULT, Fallback, Limits
from .redis import MEMORY, StorageUri
from .request_limiter import RequestLimiter
from .rules import DEFAULT_NAME, SETTING_PREFIX, Caller, Policy, RoleLimits, Rule, add_roles
from .store import Held

WAITERS_DEFAULT: Final = 4
_EXTENSION: Final = "ratelimit"

Answer = TypeVar("Answer")


class Limiter:
    """Decides about every request of an app before its view, and tells the answer in headers."""

    def init_app(
        self,
        app: Flask,
        *,
        storage: StorageUri = MEMORY,
        limits: Mapping[str, Limits] = MappingProxyType({}),
        roles: RoleLimits | None = None,
        find_caller: Callable[[], Caller | None] = lambda: None,
        has_headers: bool = True,
        has_legacy_headers: bool = False,
        budget_ms: float = BUDGET_MS_DEFAULT,
        fallback: Fallback = Fallback.LOCAL,
        precision: int = PRECISION_DEFAULT,
        workers: int = 1,
        most_waiting: int = WAITERS_DEFAULT,
        on_change: Callable[[bool], None] = lambda _is_degraded: None,
    ) -> None:
        """Limit ``app``, by counters that are kept in ``storage``.

        Rules refer to ``limits`` by their names: ``RATELIMIT_LOGIN_ADDRESS`` is ``login-address`` here. The one called
        ``default`` counts every request of an address to a route that is not exempt. ``roles`` have others instead;
        ``find_caller`` tells who asks, and is called only where a role has limits of its own. Each of the ``workers``
        processes grants its share of a strict limit while the store is away. At most ``most_waiting`` requests wait at
        once for the outcome of others.

        Raises:
            LimitError: ``roles`` name limits that there are not.
        """
        engine = Engine(storage, budget_ms=budget_ms, fallback=fallback, workers=workers, on_change=on_change)
        app.extensions[_EXTENSION] = limiter = RequestLimiter(
            engine,
            Policy(add_roles(limits, roles), precision=precision),
            find_caller=find_caller,
            default=Rule(f"{SETTING_PREFIX}DEFAULT", (address,)) if DEFAULT_NAME in limits else None,
            has_headers=has_headers,
            has_legacy_headers=has_legacy_headers,
            waiters=BoundedSemaphore(most_waiting),
        )
        app.before_request(limiter.decide)
        app.after_request(limiter.tell)

    @property
    def engine(self) -> Engine | None:
        """The current app's engine; none when limits are switched off."""
        limiter: RequestLimiter | None = current_app.extensions.get(_EXTENSION)
        return limiter.engine if limiter is not None else None

    @property
    def policy(self) -> Policy | None:
        """The current app's limits; none when limits are switched off."""
        limiter: RequestLimiter | None = current_app.extensions.get(_EXTENSION)
        return limiter.policy if limiter is not None else None

    def is_degraded(self) -> bool:
        """Ask the store, and say whether this process decides by itself because it is away."""
        engine = self.engine
        if engine is None:
            return False
        engine.look()
        return engine.is_degraded

    def find_evicting_policies(self) -> list[str]:
        """Ask every server of the store now; return the policies by which they forget windows when they are full.

        Raises:
            RateLimitStoreAway: one does not answer.
        """
        return self._ask(lambda inspector: inspector.find_evicting_policies(), [])

    def show(self, *keys: str) -> list[Held]:
        """Return what the windows of ``keys`` hold, such as ``account:someone``, the fullest first.

        Raises:
            RateLimitStoreAway: nobody knows.
        """
        return self._ask(lambda inspector: inspector.show(*keys), [])

    def clear(self, *keys: str) -> bool:
        """Forget what was counted against ``keys``, such as ``account:someone``; say whether there was anything.

        Raises:
            RateLimitStoreAway: it was not forgotten.
        """
        return self._ask(lambda inspector: inspector.clear(*keys), False)  # noqa: FBT003 - an answer, not a switch

    def rank(self, count: int = 20) -> list[Held]:
        """Return the fullest windows.

        Raises:
            RateLimitStoreAway: nobody knows.
        """
        return self._ask(lambda inspector: inspector.rank(count), [])

    def count_refused(self, *, minutes: int = 5) -> dict[tuple[str, str], int]:
        """Return the refusals of the last ``minutes`` by the limit's name and the key, the most frequent first.

        They are those of all processes that share a store, else of this one.

        Raises:
            RateLimitStoreAway: nobody knows of the others.
        """
        return self._ask(lambda inspector: inspector.count_refused(minutes=minutes), {})

    def tell_refused(self) -> None:
        """Tell the other processes what this one refused; while the store is away that waits."""
        if (engine := self.engine) is not None:
            engine.inspector.tell_refused()

    def _ask(self, question: Callable[[Inspector], Answer], otherwise: Answer) -> Answer:
        engine = self.engine
        try:
            return otherwise if engine is None else question(engine.inspector)
        except RedisError as error:
            raise RateLimitStoreAway(retry_after_seconds=1) from error

    def check(self, app: Flask) -> None:
        """Make sure that every rule of ``app`` names a setting that exists; call it when all routes are there.

        Raises:
            LimitError: one does not.
        """
        limiter: RequestLimiter | None = app.extensions.get(_EXTENSION)
        if limiter is None:
            return
        targets: list[object] = [*app.view_functions.values(), *app.blueprints.values()]
        for view in app.view_functions.values():
            view_class = getattr(view, "view_class", None)
            targets += [getattr(view_class, method.lower()) for method in getattr(view_class, "methods", None) or ()]
        for rule in (rule for target in targets for rule in get_rules(target)):
            if rule.name is not None:
                limiter.policy.find_limits(rule)
