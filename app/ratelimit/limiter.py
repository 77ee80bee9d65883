"""The limiter as an extension of Flask: an app's limits, and what its operators may ask."""

from collections.abc import Callable, Iterator, Mapping
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import Final

from flask import Flask, current_app

from .decorators import address, get_rules
from .engine import BUDGET_MS_DEFAULT, Engine
from .inspection import Inspector
from .plan import PRECISION_DEFAULT, Fallback, Limits
from .redis import MEMORY, StorageUri
from .request_limiter import RequestLimiter
from .rules import DEFAULT_NAME, SETTING_PREFIX, Caller, Policy, RoleLimits, Rule, add_roles

WAITERS_DEFAULT: Final = 4
_EXTENSION: Final = "ratelimit"


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
        limiter = _find_limiter(current_app)
        return None if limiter is None else limiter.engine

    @property
    def policy(self) -> Policy | None:
        """The current app's limits; none when limits are switched off."""
        limiter = _find_limiter(current_app)
        return None if limiter is None else limiter.policy

    @property
    def inspector(self) -> Inspector:
        """What operators ask of the current app's counters; of none, when limits are switched off."""
        return (self.engine or Engine()).inspector

    def is_degraded(self) -> bool:
        """Ask the store, and say whether this process decides by itself because it is away."""
        engine = self.engine
        return engine is not None and engine.look()

    def check(self, app: Flask) -> None:
        """Make sure that every rule of ``app`` names a setting that exists; call it when all routes are there.

        Raises:
            LimitError: one does not.
        """
        limiter = _find_limiter(app)
        if limiter is None:
            return
        for rule in list_rules(app):
            if rule.name is not None:
                limiter.policy.find_limits(rule)


def list_rules(app: Flask) -> Iterator[Rule]:
    """Yield the rules of all views and blueprints of ``app``."""
    targets: list[object] = [*app.view_functions.values(), *app.blueprints.values()]
    for view in app.view_functions.values():
        view_class = getattr(view, "view_class", None)
        targets += [getattr(view_class, method.lower()) for method in getattr(view_class, "methods", None) or ()]
    return (rule for target in targets for rule in get_rules(target))


def _find_limiter(app: Flask) -> RequestLimiter | None:
    return app.extensions.get(_EXTENSION)
