"""What happens to each request: it is decided about before its view, and told in the headers of its answer."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Final

from flask import Response, current_app, g, request

from app.utils import REFUSAL

from .decision import Decision, Refusal
from .decorators import get_rules, is_exempt
from .engine import Engine
from .errors import OutcomeOpen, RateLimited
from .headers import make_headers
from .plan import Charge
from .rules import Caller, Policy, PreparedRule, Rule

WAIT_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.02


@dataclass(slots=True)
class _Verdict:
    """What was decided about the current request, and what would make it a failure, if only failures count."""

    decision: Decision
    failures: frozenset[bool | type[Exception]] = frozenset()
    is_settled: bool = False


@dataclass(eq=False, slots=True)
class RequestLimiter:
    """Decides about the requests of one app.

    ``find_caller`` tells who asks, and is called only where a role has limits of its own. ``default`` counts every
    request to a route that is not exempt. As many requests as ``waiters`` admits wait for the outcome of others.
    """

    engine: Engine
    policy: Policy
    find_caller: Callable[[], Caller | None]
    default: Rule | None
    has_headers: bool
    has_legacy_headers: bool
    waiters: BoundedSemaphore
    # With the generation of the policy that they were prepared from.
    _rules_by_view: dict[tuple[str, str], tuple[int, tuple[PreparedRule, ...]]] = field(default_factory=dict)

    def decide(self) -> None:
        """Admit the current request, or refuse it.

        Raises:
            RateLimited: a limit refused it.
            OutcomeOpen: a limit would refuse it if all those failed that are being answered just now.
        """
        charges = []
        failures = set()
        for prepared in self._find_rules():
            rule = prepared.rule
            if rule.when is not None and not rule.when():
                continue
            own = self.policy.make_charges(prepared, self.find_caller)
            if own and rule.failures_only:
                failures.add(rule.failures_only)
            if not rule.is_shadow:
                charges += own
            elif own:
                self.engine.decide(*own)
        if not charges:
            return
        decision = self.engine.decide(*charges)
        if decision.is_pending:
            decision = self._wait_for_others(charges)
        g.rate_limit_verdict = _Verdict(decision, frozenset(failures), is_settled=not failures)
        if decision.is_pending:
            raise OutcomeOpen
        if not decision.is_admitted:
            limit = decision.refused_by
            raise RateLimited(decision.retry_after_seconds, limit_name=limit.name if limit else None)

    def _wait_for_others(self, charges: Sequence[Charge]) -> Decision:
        """Return the decision once the requests that keep it open are answered, or as it is after ``WAIT_SECONDS``."""
        decision: Decision = Refusal((), is_pending=True)
        if not self.waiters.acquire(blocking=False):
            return decision
        try:
            until = time.monotonic() + WAIT_SECONDS
            while decision.is_pending and time.monotonic() < until:
                time.sleep(random.uniform(0.5, 1.5) * _PAUSE_SECONDS)  # noqa: S311 - so that not all ask at once
                decision = self.engine.decide(*charges)
            return decision
        finally:
            self.waiters.release()

    def tell(self, response: Response) -> Response:
        """Write the decision about the current request into its headers, and give back what success does not cost."""
        verdict: _Verdict | None = g.get("rate_limit_verdict")
        if verdict is None:
            return response
        decision = verdict.decision
        headers = response.headers
        is_given_back = not verdict.is_settled and not _is_failure(verdict, response)
        if self.has_headers:
            for name, value in make_headers(decision, has_legacy=self.has_legacy_headers, is_given_back=is_given_back):
                if name == "Retry-After":
                    headers[name] = value  # the refusal's own answer may have it already
                else:
                    headers.add(name, value)
        elif not decision.is_admitted and not decision.is_pending:
            headers["Retry-After"] = str(decision.retry_after_seconds)
        if not verdict.is_settled:
            verdict.is_settled = True
            self.engine.settle(decision, is_failure=not is_given_back)
        return response

    def _find_rules(self) -> tuple[PreparedRule, ...]:
        """Return the rules of the current request, looked for once."""
        asked = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - Flask's own way past its proxy
        endpoint, method = asked.endpoint, asked.method
        key, generation = (endpoint or "", method), self.policy.generation
        prepared_from, rules = self._rules_by_view.get(key, (-1, ()))
        if prepared_from != generation:
            found = self._collect_rules(endpoint, method)
            rules = tuple(self.policy.prepare(rule, endpoint or "") for rule in found)
            # An endpoint has few methods; where there is none, the method is any word that a client likes.
            if endpoint is not None:
                self._rules_by_view[key] = (generation, rules)
        return rules

    def _collect_rules(self, endpoint: str | None, method: str) -> list[Rule]:
        """Return the rules of a view: its own, those of its blueprints, and the default unless it is exempt."""
        targets: list[object] = []
        if endpoint is not None:
            view = current_app.view_functions[endpoint]
            view_class = getattr(view, "view_class", None)
            targets = [view, view_class, getattr(view_class, method.lower(), None)]
            targets += [current_app.blueprints[name] for name in request.blueprints]
        # A preflight is no attempt at anything: Flask answers it, and no view is called.
        is_answered_by_flask = method == "OPTIONS" and bool(
            getattr(request.url_rule, "provide_automatic_options", False)
        )
        rules = [rule for target in targets for rule in get_rules(target) if not is_answered_by_flask]
        if self.default is not None and not any(is_exempt(target) for target in targets):
            rules.append(self.default)
        return list(dict.fromkeys(rules))


def _is_failure(verdict: _Verdict, response: Response) -> bool:
    refusal = g.get(REFUSAL)
    return any(
        response.status_code >= 400 if failure is True else isinstance(refusal, failure)
        for failure in verdict.failures
        if failure is not False
    )
