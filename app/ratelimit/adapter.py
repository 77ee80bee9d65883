"""The limiter's face to Flask: decorators, headers, and the refusal. Nothing else of it knows Flask."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import Blueprint, Flask, Response, current_app, g, request
from redis.exceptions import RedisError

from app.utils import REFUSAL, AppError

from .decision import Decision, Refusal
from .engine import BUDGET_MS_DEFAULT, Engine
from .errors import OutcomeOpen, RateLimited, StoreAway
from .headers import make_headers
from .plan import PRECISION_DEFAULT, Fallback, LimitError, parse_limits
from .redis import MEMORY, StorageUri, parse_storage_uri
from .rules import (
    ADDRESS,
    DEFAULT_NAME,
    SETTING_PREFIX,
    By,
    Caller,
    NamedLimits,
    Policy,
    PreparedRule,
    Rule,
    add_roles,
    parse_role_limits,
)
from .subject import normalize_ip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .inspection import Inspector
    from .plan import Charge, Limits
    from .rules import RoleLimits
    from .store import Held

WAITERS_DEFAULT: Final = 4
WAIT_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.02
_EXTENSION: Final = "ratelimit"
_RULES: Final = "__rate_limits__"
_EXEMPT: Final = "__rate_limit_exempt__"

Target = TypeVar("Target", bound="Callable[..., Any] | Blueprint")
Answer = TypeVar("Answer")


def _find_address() -> str:
    return normalize_ip(request.remote_addr or "")


address: Final = By(ADDRESS, _find_address)
"""The caller's IP address: an IPv4 address, or an IPv6 address' /64."""


def rate_limit(
    limits: str | Callable[[], str],
    *,
    by: By | Sequence[By] = address,
    cost: int | Callable[[], int] = 1,
    scope: str | None = None,
    when: Callable[[], bool] | None = None,
    failures_only: bool | type[AppError] = False,
    shadow: bool = False,
    fallback: Fallback | str | None = None,
    strict: bool = False,
    block: str | None = None,
) -> Callable[[Target], Target]:
    """Limit a view, or every view of a blueprint. Several may stand above one another; all have to admit the request.

    Args:
        limits: ``"10/minute;100/hour"``, the name of a setting such as ``"RATELIMIT_LOGIN"``, or a function that
            returns a notation for each request (such as the most generous of the caller's roles).
        by: whom a request counts against, one kind or several. Several are decided together, all or nothing.
        cost: how many units a request takes.
        scope: the name of the counters; rules of one scope share them. The default is the setting, or the endpoint.
        when: whether the rule applies to this request.
        failures_only: charge first and give back what does not fail: an answer from 400 on is a failure, or, where an
            error is named, that error alone. Who is refused while the outcome of others is open waits for it a little.
            Implies ``strict``.
        shadow: only count what would have been refused.
        fallback: what decides while the store is away, if not ``RATELIMIT_FALLBACK``.
        strict: hold through an outage: each process then grants only its share of what is left.
        block: limits on refusals, such as ``"10/hour;30/day"``: who is refused more often is refused altogether until
            the refusals have left their window.

    Raises:
        LimitError: a notation is malformed.
    """
    rule = Rule(
        limits=limits,
        by=(by,) if isinstance(by, By) else tuple(by),
        cost=cost,
        scope=scope,
        when=when,
        failures_only=failures_only,
        is_shadow=shadow,
        fallback=Fallback(fallback) if isinstance(fallback, str) else fallback,
        is_strict=strict,
        block=block,
    )

    def decorate(target: Target) -> Target:
        setattr(target, _RULES, (rule, *getattr(target, _RULES, ())))
        return target

    return decorate


def exempt(target: Target) -> Target:
    """Free a view, or a blueprint, from the default limits; limits of its own still hold."""
    setattr(target, _EXEMPT, True)
    return target


@dataclass(slots=True)
class _State:
    engine: Engine
    policy: Policy
    find_caller: Callable[[], Caller | None]
    default: Rule | None
    has_headers: bool
    has_legacy_headers: bool
    waiters: BoundedSemaphore
    # With the generation of the policy that they were prepared from.
    rules_by_view: dict[tuple[str, str], tuple[int, tuple[PreparedRule, ...]]]


@dataclass(slots=True)
class _Verdict:
    """What was decided about the current request, and what would make it a failure, if only failures count."""

    decision: Decision
    failures: frozenset[bool | type[Exception]] = frozenset()
    is_settled: bool = False


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
        app.extensions[_EXTENSION] = state = _State(
            engine=engine,
            policy=Policy(add_roles(limits, roles), precision=precision),
            find_caller=find_caller,
            default=Rule(f"{SETTING_PREFIX}DEFAULT", (address,)) if DEFAULT_NAME in limits else None,
            has_headers=has_headers,
            has_legacy_headers=has_legacy_headers,
            waiters=BoundedSemaphore(most_waiting),
            rules_by_view={},
        )
        app.before_request(lambda: _decide(state))
        app.after_request(lambda response: _tell(state, response))

    # --- for the app --------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine | None:
        """The current app's engine; none when limits are switched off."""
        state = _find_state()
        return state.engine if state is not None else None

    @property
    def policy(self) -> Policy | None:
        """The current app's limits; none when limits are switched off."""
        state = _find_state()
        return state.policy if state is not None else None

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
            StoreAway: one does not answer.
        """
        return self._ask(lambda inspector: inspector.find_evicting_policies(), [])

    def show(self, *keys: str) -> list[Held]:
        """Return what the windows of ``keys`` hold, such as ``account:someone``, the fullest first.

        Raises:
            StoreAway: nobody knows.
        """
        return self._ask(lambda inspector: inspector.show(*keys), [])

    def clear(self, *keys: str) -> bool:
        """Forget what was counted against ``keys``, such as ``account:someone``; say whether there was anything.

        Raises:
            StoreAway: it was not forgotten.
        """
        return self._ask(lambda inspector: inspector.clear(*keys), False)  # noqa: FBT003 - an answer, not a switch

    def rank(self, count: int = 20) -> list[Held]:
        """Return the fullest windows.

        Raises:
            StoreAway: nobody knows.
        """
        return self._ask(lambda inspector: inspector.rank(count), [])

    def count_refused(self, *, minutes: int = 5) -> dict[tuple[str, str], int]:
        """Return the refusals of the last ``minutes`` by the limit's name and the key, the most frequent first.

        They are those of all processes that share a store, else of this one.

        Raises:
            StoreAway: nobody knows of the others.
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
            raise StoreAway(retry_after_seconds=1) from error

    def check(self, app: Flask) -> None:
        """Make sure that every rule of ``app`` names a setting that exists; call it when all routes are there.

        Raises:
            LimitError: one does not.
        """
        state: _State | None = app.extensions.get(_EXTENSION)
        targets: list[object] = [*app.view_functions.values(), *app.blueprints.values()]
        for view in app.view_functions.values():
            view_class = getattr(view, "view_class", None)
            targets += [getattr(view_class, method.lower()) for method in getattr(view_class, "methods", None) or ()]
        for rule in (rule for target in targets for rule in getattr(target, _RULES, ())):
            if state is not None and rule.name is not None:
                state.policy.find_limits(rule)


def _decide(state: _State) -> None:
    """Admit the current request, or refuse it.

    Raises:
        RateLimited: a limit refused it.
        OutcomeOpen: a limit would refuse it if all those failed that are being answered just now.
    """
    charges = []
    failures = set()
    for prepared in _find_rules(state):
        rule = prepared.rule
        if rule.when is not None and not rule.when():
            continue
        own = state.policy.make_charges(prepared, state.find_caller)
        if own and rule.failures_only:
            failures.add(rule.failures_only)
        if not rule.is_shadow:
            charges += own
        elif own:
            state.engine.decide(*own)
    if not charges:
        return
    decision = state.engine.decide(*charges)
    if decision.is_pending:
        decision = _wait_for_others(state, charges)
    g.rate_limit_verdict = _Verdict(decision, frozenset(failures), is_settled=not failures)
    if decision.is_pending:
        raise OutcomeOpen
    if not decision.is_admitted:
        limit = decision.refused_by
        raise RateLimited(decision.retry_after_seconds, limit_name=limit.name if limit else None)


def _wait_for_others(state: _State, charges: Sequence[Charge]) -> Decision:
    """Return the decision once those are answered who keep it open, or, after ``WAIT_SECONDS``, that it still is."""
    decision: Decision = Refusal((), is_pending=True)
    if not state.waiters.acquire(blocking=False):
        return decision
    try:
        until = time.monotonic() + WAIT_SECONDS
        while decision.is_pending and time.monotonic() < until:
            time.sleep(random.uniform(0.5, 1.5) * _PAUSE_SECONDS)  # noqa: S311 - so that not all ask at once
            decision = state.engine.decide(*charges)
        return decision
    finally:
        state.waiters.release()


def _is_failure(verdict: _Verdict, response: Response) -> bool:
    refusal = g.get(REFUSAL)
    return any(
        response.status_code >= 400 if failure is True else isinstance(refusal, failure)
        for failure in verdict.failures
        if failure is not False
    )


def _tell(state: _State, response: Response) -> Response:
    """Write the decision about the current request into its headers, and give back what success does not cost."""
    verdict: _Verdict | None = g.get("rate_limit_verdict")
    if verdict is None:
        return response
    decision = verdict.decision
    headers = response.headers
    is_given_back = not verdict.is_settled and not _is_failure(verdict, response)
    if state.has_headers:
        for name, value in make_headers(decision, has_legacy=state.has_legacy_headers, is_given_back=is_given_back):
            if name == "Retry-After":
                headers[name] = value  # the refusal's own answer may have it already
            else:
                headers.add(name, value)
    elif not decision.is_admitted and not decision.is_pending:
        headers["Retry-After"] = str(decision.retry_after_seconds)
    if not verdict.is_settled:
        verdict.is_settled = True
        state.engine.settle(decision, is_failure=not is_given_back)
    return response


def _find_state() -> _State | None:
    return current_app.extensions.get(_EXTENSION)


def _find_rules(state: _State) -> tuple[PreparedRule, ...]:
    """Return the rules of the current request, looked for once."""
    asked = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - Flask's own way past its proxy
    endpoint, method = asked.endpoint, asked.method
    key, generation = (endpoint or "", method), state.policy.generation
    prepared_from, rules = state.rules_by_view.get(key, (-1, ()))
    if prepared_from != generation:
        found = _collect_rules(state, endpoint, method)
        rules = tuple(state.policy.prepare(rule, endpoint or "") for rule in found)
        # An endpoint has few methods; where there is none, the method is any word that a client likes.
        if endpoint is not None:
            state.rules_by_view[key] = (generation, rules)
    return rules


def _collect_rules(state: _State, endpoint: str | None, method: str) -> list[Rule]:
    """Return the rules of a view: its own, those of its blueprints, and the default unless it is exempt."""
    targets: list[object] = []
    if endpoint is not None:
        view = current_app.view_functions[endpoint]
        view_class = getattr(view, "view_class", None)
        targets = [view, view_class, getattr(view_class, method.lower(), None)]
        targets += [current_app.blueprints[name] for name in request.blueprints]
    # A preflight is no attempt at anything: Flask answers it, and no view is called.
    is_answered_by_flask = method == "OPTIONS" and bool(getattr(request.url_rule, "provide_automatic_options", False))
    rules = [rule for target in targets for rule in getattr(target, _RULES, ()) if not is_answered_by_flask]
    is_exempt = any(getattr(target, _EXEMPT, False) for target in targets)
    if state.default is not None and not is_exempt:
        rules.append(state.default)
    return list(dict.fromkeys(rules))


__all__ = [
    "By",
    "Caller",
    "LimitError",
    "Limiter",
    "NamedLimits",
    "OutcomeOpen",
    "RateLimited",
    "StoreAway",
    "address",
    "exempt",
    "parse_limits",
    "parse_role_limits",
    "parse_storage_uri",
    "rate_limit",
]
