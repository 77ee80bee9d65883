"""What a decorator asks for, before it meets a request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from .plan import Charge, ChargeKind, Fallback, LimitError, Plan, compile_plan, parse_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Tells whom a request counts against; an empty answer means: nobody, this time.
    By = Callable[[], str]

SETTING_PREFIX: Final = "RATELIMIT_"
BLOCK_SCOPE_PREFIX: Final = "block-"
PLANS_MAX: Final = 4096
_is_setting_name = re.compile(r"[A-Z][A-Z0-9_]*").fullmatch


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits, and whom and when they count. ``limits`` is a notation, the name of a setting, or asked each time."""

    limits: str | Callable[[], str]
    by: tuple[By, ...]
    cost: int | Callable[[], int] = 1
    scope: str | None = None
    when: Callable[[], bool] | None = None
    failures_only: bool = False
    is_shadow: bool = False
    fallback: Fallback | None = None
    is_strict: bool = False
    block: str | None = None

    def __post_init__(self) -> None:
        """Refuse a malformed notation where it is written.

        Raises:
            LimitError: it is malformed.
        """
        for text in (self.limits, self.block):
            if isinstance(text, str) and not _is_setting_name(text):
                parse_limits(text)

    @property
    def setting(self) -> str | None:
        """The name of the setting that holds the limits, if it is one."""
        return self.limits if isinstance(self.limits, str) and _is_setting_name(self.limits) else None

    def name_scope(self, endpoint: str) -> str:
        """Return what the counters belong to: all routes that name one setting share them; others have their own."""
        if self.scope is not None:
            return self.scope
        if self.setting is not None:
            return self.setting.removeprefix(SETTING_PREFIX).lower().replace("_", "-")
        return endpoint


class PreparedRule(NamedTuple):
    """A rule with its plans; the plan is missing if the limits are asked for with each request."""

    rule: Rule
    plan: Plan | None
    endpoint: str
    bys: tuple[tuple[By, str], ...]
    kind: ChargeKind
    block: Plan | None


class Policy:
    """The limits in force, by the name of their setting; they can be replaced while requests come."""

    def __init__(self, limits: Mapping[str, str], *, precision: int) -> None:
        """Take the settings' limits.

        Raises:
            LimitError: one is malformed.
        """
        self._precision = precision
        self._limits: dict[str, str] = {}
        self._plans: dict[object, Plan] = {}
        self.generation = 0
        self.replace(limits)

    @property
    def limits(self) -> Mapping[str, str]:
        """The limits in force, by the name of their setting."""
        return dict(self._limits)

    def replace(self, limits: Mapping[str, str]) -> None:
        """Put ``limits`` in force from the next request on; what was counted stays counted.

        Raises:
            LimitError: one is malformed; nothing has changed.
        """
        for text in limits.values():
            parse_limits(text)
        self._limits = {**self._limits, **limits}
        self.generation += 1

    def find_text(self, rule: Rule) -> str:
        """Return the notation that ``rule`` stands for now.

        Raises:
            LimitError: its setting does not exist.
        """
        if callable(rule.limits):
            return rule.limits()
        if rule.setting is None:
            return rule.limits
        text = self._limits.get(rule.setting)
        if text is None:
            raise LimitError(f"a route names the setting {rule.setting}, which does not exist")
        return text

    def prepare(self, rule: Rule, endpoint: str) -> PreparedRule:
        """Return all of ``rule`` that does not depend on the request, as long as the ``generation`` lasts.

        Raises:
            LimitError: its setting does not exist.
        """
        plan = None if callable(rule.limits) else self._find_plan(rule, self.find_text(rule), endpoint)
        return PreparedRule(
            rule=rule,
            plan=plan,
            endpoint=endpoint,
            bys=tuple((by, f"{by.__name__}:") for by in rule.by),
            kind=ChargeKind.PROVISIONAL if rule.failures_only else ChargeKind.LASTING,
            block=None if rule.block is None else self._find_plan(rule, rule.block, endpoint, BLOCK_SCOPE_PREFIX),
        )

    def make_charges(self, prepared: PreparedRule) -> list[Charge]:
        """Return what a request has to pay by a rule: for every subject, its limits and its block."""
        rule, plan, endpoint, bys, kind, block = prepared
        if plan is None:
            plan = self._find_plan(rule, self.find_text(rule), endpoint)
        cost = rule.cost if isinstance(rule.cost, int) else rule.cost()
        charges = []
        for by, prefix in bys:
            value = by()
            if value:
                # The kind of subject is part of its name: an account called like an address is nobody's address.
                charges.append(Charge(plan, prefix + value, cost, kind))
                if block is not None:
                    charges.append(Charge(block, prefix + value, 0, ChargeKind.BLOCK))
        return charges

    def _find_plan(self, rule: Rule, text: str, endpoint: str, scope_prefix: str = "") -> Plan:
        scope = scope_prefix + rule.name_scope(endpoint)
        is_strict = rule.is_strict or rule.failures_only
        key = (text, scope, rule.fallback, is_strict)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:  # limits that a function makes up may be many
                self._plans.clear()
            plan = self._plans[key] = compile_plan(
                text, scope=scope, precision=self._precision, fallback=rule.fallback, is_strict=is_strict
            )
        return plan
