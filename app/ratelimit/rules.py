"""What a decorator asks for, before it meets a request."""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from .plan import (
    ALLOWED_NOTATION,
    AMOUNT_MAX,
    Charge,
    ChargeKind,
    Fallback,
    LimitError,
    Limits,
    Plan,
    compile_plan,
    make_limit,
    parse_limits,
)

logger = logging.getLogger(__name__)

DEFAULT_NAME: Final = "default"
SETTING_PREFIX: Final = "RATELIMIT_"
BLOCK_SCOPE_PREFIX: Final = "block-"
RESERVATION_SCOPE_PREFIX: Final = "pending-"
# Longer than any request takes; the reservations of a process that died end with it.
RESERVATION_SECONDS: Final = 10
PLANS_MAX: Final = 4096
# The kind of subject that an address is; a caller whose role has limits of its own stands for more than an address.
ADDRESS: Final = "address"
_is_kind = re.compile(r"[a-z][a-z0-9_-]*").fullmatch
_is_setting_name = re.compile(r"[A-Z][A-Z0-9_]*").fullmatch
_ROLE_ENTRY: Final = re.compile(r"(?:^|[\s,;])([a-z][a-z0-9_-]*)\.([a-z][a-z0-9-]*)=")


def name_setting(setting: str) -> str:
    """Return what the limits of ``setting`` are called outside: ``RATELIMIT_LOGIN_ADDRESS`` is ``login-address``."""
    return setting.removeprefix(SETTING_PREFIX).lower().replace("_", "-")


class Caller(NamedTuple):
    """Who asks, for limits that roles have: the subject that counts, such as ``user:…``, and the roles' names."""

    subject: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class By:
    """Whom a rule counts: ``kind`` is the word that stands before them in a key, as in ``account:someone``.

    ``find`` tells who it is in this request; an empty text means nobody, and the rule does not apply. Functions that
    find the same one in different ways share their counters by sharing the kind.
    """

    kind: str
    find: Callable[[], str]

    def __post_init__(self) -> None:
        """Refuse a kind that could be mistaken for another one and its subject.

        Raises:
            LimitError: it is no plain word.
        """
        if not _is_kind(self.kind):
            raise LimitError(f"expected a word of a-z, 0-9, - and _ that says whom a limit counts; got {self.kind!r}")


@dataclass(frozen=True, slots=True)
class NamedLimits:
    """What one name stands for: limits, and others for callers who have a role."""

    limits: Limits
    by_role: Mapping[str, Limits] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """Limits that roles have of their own, made by ``parse_role_limits``: the ``text``, and by name and role."""

    text: str
    by_name: Mapping[str, Mapping[str, Limits]] = field(compare=False, repr=False)

    def check_names(self, names: Iterable[str]) -> None:
        """Make sure that all of it is about limits that there are.

        Raises:
            LimitError: there is no limit of a name.
        """
        known = list(names)
        if unknown := sorted(self.by_name.keys() - set(known)):
            raise LimitError(f"expected limits called {', '.join(known)}; there is none called {', '.join(unknown)}")

    def __str__(self) -> str:
        return self.text


def parse_role_limits(text: str) -> RoleLimits:
    """Return the limits of roles that ``text`` spells out: ``staff.default=6000/minute``.

    Raises:
        LimitError: ``text`` is malformed.
    """
    heads = list(_ROLE_ENTRY.finditer(text))
    by_name: dict[str, dict[str, Limits]] = {}
    if text.strip() and (not heads or text[: heads[0].start()].strip()):
        raise LimitError(f"expected ROLE.LIMIT=… such as staff.default=6000/minute; got {text[:80]!r}")
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=False):
        role, name = head.groups()
        notation = text[head.end() : end].strip(" ,;")
        try:
            limits = parse_limits(notation)
        except LimitError as error:
            raise LimitError(f"expected {ALLOWED_NOTATION} for {role}.{name}; got {notation[:80]!r}") from error
        if role in by_name.setdefault(name, {}):
            raise LimitError(f"expected one entry for {role}.{name}, got two")
        by_name[name][role] = limits
    return RoleLimits(text, by_name)


def add_roles(limits: Mapping[str, Limits], roles: RoleLimits | None) -> dict[str, NamedLimits]:
    """Return ``limits`` by name, each with those that ``roles`` have instead.

    Raises:
        LimitError: a role's limit has a name that none of ``limits`` has.
    """
    if roles is None:
        return {name: NamedLimits(own) for name, own in limits.items()}
    roles.check_names(limits)
    return {name: NamedLimits(own, roles.by_name.get(name, {})) for name, own in limits.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits, and whom and when they count. ``limits`` is a notation, the name of a setting, or asked each time."""

    limits: str | Callable[[], str]
    by: tuple[By, ...]
    cost: int | Callable[[], int] = 1
    scope: str | None = None
    when: Callable[[], bool] | None = None
    failures_only: bool | type[Exception] = False
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
    def name(self) -> str | None:
        """What the limits are called, if a setting holds them."""
        return name_setting(self.limits) if isinstance(self.limits, str) and _is_setting_name(self.limits) else None

    def name_scope(self, endpoint: str) -> str:
        """Return what the counters belong to: all routes that name one setting share them; others have their own."""
        return self.scope if self.scope is not None else self.name or endpoint


class PreparedRule(NamedTuple):
    """A rule with its plans; the plan is missing if the limits are asked for with each request."""

    rule: Rule
    plan: Plan | None
    # Of roles that have limits of their own, the most generous first.
    role_plans: tuple[tuple[str, Plan], ...]
    endpoint: str
    block: Plan | None
    reservation: Plan | None


class Policy:
    """The limits in force, by name; they can be replaced while requests come."""

    def __init__(self, configured: Mapping[str, NamedLimits], *, precision: int) -> None:
        """Begin with the limits that are ``configured``."""
        self._precision = precision
        self._plans: dict[object, Plan] = {}
        self.configured: Final = MappingProxyType(dict(configured))
        self.in_force: Mapping[str, NamedLimits] = self.configured
        self.generation = 0
        self.updating: Final = threading.Lock()
        """For whoever reads somewhere what is to be in force, and puts it there."""
        self._told_of: set[str] = set()

    def replace(self, changed: Mapping[str, NamedLimits]) -> None:
        """Put ``changed`` in force from the next request on, and for all others what is configured.

        What was counted stays counted.

        Raises:
            LimitError: there is no limit of one of the names; nothing has changed.
        """
        unknown = sorted(changed.keys() - self.configured.keys())
        if unknown:
            raise LimitError(f"there is no limit called {', '.join(unknown)}")
        in_force = MappingProxyType({**self.configured, **changed})
        if in_force != self.in_force:
            self.in_force = in_force
            self.generation += 1

    def find_limits(self, rule: Rule) -> Limits | None:
        """Return what ``rule`` stands for now; None if a function asks for none.

        Raises:
            LimitError: its setting does not exist, or a function returned no limits.
        """
        if callable(rule.limits):
            text = rule.limits()
            return parse_limits(text) if text else None
        if rule.name is None:
            return parse_limits(rule.limits)
        named = self.in_force.get(rule.name)
        if named is None:
            raise LimitError(f"a route names the setting {rule.limits}, which does not exist")
        return named.limits

    def prepare(self, rule: Rule, endpoint: str) -> PreparedRule:
        """Return all of ``rule`` that does not depend on the request, as long as the ``generation`` lasts.

        Raises:
            LimitError: its setting does not exist.
        """
        limits = None if callable(rule.limits) else self.find_limits(rule)
        by_role = {} if rule.name is None else self.in_force[rule.name].by_role
        ranked = sorted(by_role.items(), key=lambda item: item[1].generosity, reverse=True)
        return PreparedRule(
            rule=rule,
            plan=None if limits is None else self._find_plan(rule, limits, endpoint),
            role_plans=tuple((role, self._find_plan(rule, own, endpoint)) for role, own in ranked),
            endpoint=endpoint,
            block=None
            if rule.block is None
            else self._find_plan(rule, parse_limits(rule.block), endpoint, BLOCK_SCOPE_PREFIX),
            reservation=self._make_reservation(rule, endpoint) if rule.failures_only else None,
        )

    def make_charges(self, prepared: PreparedRule, find_caller: Callable[[], Caller | None]) -> list[Charge]:
        """Return what a request has to pay by a rule: for every subject, its limits and its block."""
        rule, plan, role_plans, endpoint, block, reservation = prepared
        if plan is None:
            plan = self._ask_for_plan(rule, endpoint)
        if plan is None:
            return []
        stand_in = None
        if role_plans and (caller := find_caller()) is not None:
            own = next((role_plan for role, role_plan in role_plans if role in caller.roles), None)
            if own is not None:
                plan = own
                # What a role may take more, or has to do with less, is no business of others at the same address. But
                # where failures count, whoever has many accounts would have as many budgets for guesses.
                stand_in = None if rule.failures_only else caller.subject
        cost = rule.cost if isinstance(rule.cost, int) else rule.cost()
        kind = ChargeKind.PROVISIONAL if rule.failures_only else ChargeKind.LASTING
        charges = []
        for by in rule.by:
            # The kind is part of the subject's name: an account called like an address is nobody's address.
            subject = stand_in if stand_in and by.kind == ADDRESS else (who := by.find()) and f"{by.kind}:{who}"
            if subject:
                charges.append(Charge(plan, subject, cost, kind))
                if reservation is not None:
                    charges.append(Charge(reservation, subject, cost, ChargeKind.RESERVATION))
                if block is not None:
                    charges.append(Charge(block, subject, 0, ChargeKind.BLOCK))
        return charges

    def _ask_for_plan(self, rule: Rule, endpoint: str) -> Plan | None:
        """Return the plan of the limits that a function names just now; none where it names none.

        What is no limits is told once, and the default holds instead.
        """
        try:
            limits = self.find_limits(rule)
            return None if limits is None else self._find_plan(rule, limits, endpoint)
        except LimitError as error:
            if endpoint not in self._told_of:
                self._told_of.add(endpoint)
                logger.error("%s: a function names no limits, so the default holds: %s", endpoint, error)  # noqa: TRY400 - it says what is wrong
        default = self.in_force.get(DEFAULT_NAME)
        return None if default is None else self._find_plan(rule, default.limits, endpoint)

    def _make_reservation(self, rule: Rule, endpoint: str) -> Plan:
        """Return what counts the requests whose outcome is still open; it refuses nothing that its rule admits."""
        scope = RESERVATION_SCOPE_PREFIX + rule.name_scope(endpoint)
        # Strict as what it stands beside: where this process decides by its own memory, both have to be known there.
        limit = make_limit(AMOUNT_MAX, seconds=RESERVATION_SECONDS, scope=scope, fallback=rule.fallback, is_strict=True)
        return Plan([limit])

    def _find_plan(self, rule: Rule, limits: Limits, endpoint: str, scope_prefix: str = "") -> Plan:
        scope = scope_prefix + rule.name_scope(endpoint)
        is_strict = rule.is_strict or bool(rule.failures_only)
        key = (limits.text, scope, rule.fallback, is_strict)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:  # limits that a function makes up may be many
                self._plans.clear()
            plan = self._plans[key] = compile_plan(
                limits, scope=scope, precision=self._precision, fallback=rule.fallback, is_strict=is_strict
            )
        return plan
