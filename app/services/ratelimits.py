"""The rate limits: those in force, whom they count, and what an administrator changes about them."""

import dataclasses
import datetime
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from app.emails import canonicalize_email
from app.extensions import db, limiter, retried, transaction
from app.models import RateLimit, Role, RoleRateLimit, User
from app.permissions import ROLE_NAME_MAX_LENGTH
from app.ratelimit import LimitError, normalize_ip, parse_limits
from app.ratelimit.plan import ALLOWED_NOTATION, PRECISION_DEFAULT
from app.ratelimit.rules import NamedLimits, Policy
from app.ratelimit.store import Held
from app.security import Actor, list_account_keys
from app.utils import InvalidInput, Message, NotFound

from . import audit
from .admins import lock_admins
from .users import get_target

logger = logging.getLogger(__name__)


class RateLimitNotFound(NotFound):
    """There is no such limit."""

    detail = "There is no limit of this name. GET /api/v1/ratelimits lists those there are."


class UnknownRole(InvalidInput):
    """A limit is meant for a role that does not exist."""

    detail = "See GET /api/v1/roles for those there are."


class InvalidKey(InvalidInput):
    """A text names nobody whom a limit could count."""

    detail = "A key has the form KIND:WHO, such as address:203.0.113.7 or account:ada@example.com."

    def __init__(self) -> None:
        super().__init__(errors={"key": [Message(type(self).detail, "invalid_key")]})


class InvalidLimits(InvalidInput):
    """A text is no limits."""


@dataclasses.dataclass(frozen=True, slots=True)
class RateLimitState:
    """A limit as it is in force, as the settings have it, and when an administrator last changed it."""

    name: str
    limits: str
    by_role: Mapping[str, str]
    configured: str
    changed_at: datetime.datetime | None


@retried
def list_limits() -> list[RateLimitState]:
    """Return all limits that have a name; those that stand in the code are not among them."""
    policy = _get_policy()
    changes = _load_changes(policy)
    return [_describe(policy, name, changes) for name in policy.configured]


@retried
def change_limit(
    name: str, *, limits: str | None = None, roles: Mapping[str, str | None] | None = None, actor: Actor
) -> RateLimitState:
    """Change a limit for everybody, for those who have a role, or both. All processes follow within seconds.

    Without ``limits`` those for everybody stay as they are; None for a role takes away what was changed for it.

    Raises:
        RateLimitNotFound: there is none.
        InvalidLimits: a text is no limits.
        UnknownRole: there is no such role.
    """
    policy = _get_policy(name)
    changes_by_role = dict(roles or {})
    _check_notation(limits, changes_by_role)
    with transaction() as writing:
        lock_admins()
        if limits is not None:
            writing.merge(RateLimit(name=name, limits=limits))
        # Locked: a role that somebody deletes meanwhile is gone before, or takes its limits along after.
        query = sa.select(Role.name, Role.id).where(Role.name.in_(changes_by_role)).with_for_update()
        found = writing.execute(query)
        role_ids = {role: role_id for role, role_id in found}  # noqa: C416 - rows are no pairs to mypy
        unknown = sorted(changes_by_role.keys() - role_ids.keys())
        if unknown:
            raise UnknownRole(
                errors={
                    "roles": [Message(f"There is no role {role!r}.", "unknown_role", role=role) for role in unknown]
                }
            )
        for role, text in changes_by_role.items():
            if text is None:
                key = (RoleRateLimit.name == name, RoleRateLimit.role_id == role_ids[role])
                writing.execute(sa.delete(RoleRateLimit).where(*key))
            else:
                writing.merge(RoleRateLimit(name=name, role_id=role_ids[role], limits=text))
        audit.record("ratelimit.changed", actor=actor, target=name, limits=limits, roles=changes_by_role)
    return _describe(policy, name, _follow(policy))


@retried
def reset_limit(name: str, *, actor: Actor) -> RateLimitState:
    """Put back in force what the settings say, for everybody and for every role.

    Raises:
        RateLimitNotFound: there is none.
    """
    policy = _get_policy(name)
    with transaction() as writing:
        lock_admins()
        for model in (RateLimit, RoleRateLimit):
            writing.execute(sa.delete(model).where(model.name == name))
        audit.record("ratelimit.reset", actor=actor, target=name)
    return _describe(policy, name, _follow(policy))


@retried
def follow_changes() -> None:
    """Put in force, in this process, what administrators changed in others."""
    if limiter.policy is not None:
        _follow(limiter.policy)


def show(key: str) -> Sequence[Held]:
    """Return what is counted under ``key``; an account's key stands for those of its devices too.

    Raises:
        InvalidKey: it names nobody.
        RateLimitStoreAway: nobody knows.
    """
    return limiter.inspector.show(*_list_keys(key))


@retried
def clear(key: str, *, actor: Actor) -> None:
    """Forget what is counted under ``key``; an account's key stands for those of its devices too.

    Raises:
        InvalidKey: it names nobody.
        TargetOutranksActor: it is the account of a user who may do what the actor may not.
        RateLimitStoreAway: it was not forgotten.
    """
    kind, who = _split_key(key)
    with transaction():
        target: uuid.UUID | str | None = f"{kind}:{who}"[:ROLE_NAME_MAX_LENGTH]
        if kind == "account":
            # An e-mail stays out of the trail: the user's id says whose it is.
            target = db.session.scalar(sa.select(User.id).where(User.email == who))
            if target is not None:
                get_target(target, actor)
        audit.record("ratelimit.cleared", actor=actor, target=target, kind=kind)
    limiter.inspector.clear(*_list_keys(key))


def _list_keys(key: str) -> list[str]:
    kind, who = _split_key(key)
    return list_account_keys(who) if kind == "account" else [f"{kind}:{who}"]


def _split_key(key: str) -> tuple[str, str]:
    kind, _, who = key.partition(":")
    try:
        if kind == "account":
            who = canonicalize_email(who)
        elif kind == "address":
            who = normalize_ip(who)
    except ValueError:
        who = ""
    if not kind or not who:
        raise InvalidKey
    return kind, who


def _get_policy(name: str | None = None) -> Policy:
    """Return the limits of this process.

    Raises:
        RateLimitNotFound: there is none called ``name``.
    """
    policy = limiter.policy or Policy({}, precision=PRECISION_DEFAULT)
    if name is not None and name not in policy.configured:
        raise RateLimitNotFound
    return policy


def _check_notation(limits: str | None, by_role: Mapping[str, str | None]) -> None:
    errors: dict[str, list[Message]] = {}
    for field, text in [("limits", limits), *((f"roles.{role}", text) for role, text in by_role.items())]:
        try:
            if text is not None:
                parse_limits(text)
        except LimitError as error:
            errors[field] = [Message(str(error), "invalid_limits", expected=ALLOWED_NOTATION)]
    if errors:
        raise InvalidLimits(errors=errors)


@dataclasses.dataclass(slots=True)
class _Change:
    limits: str | None = None
    by_role: dict[str, str] = dataclasses.field(default_factory=dict)
    at: datetime.datetime | None = None

    def note(self, at: datetime.datetime) -> None:
        self.at = max(at, self.at or at)


def _load_changes(policy: Policy) -> dict[str, _Change]:
    """Return what administrators changed about the limits that are configured."""
    # One statement: what two said could contradict each other.
    common: sa.Select[Any, Any, Any, Any] = sa.select(
        RateLimit.name, sa.literal_column("NULL"), RateLimit.limits, RateLimit.updated_at
    )
    of_roles = sa.select(RoleRateLimit.name, Role.name, RoleRateLimit.limits, RoleRateLimit.updated_at).join(
        Role, Role.id == RoleRateLimit.role_id
    )
    changes: dict[str, _Change] = {}
    with db.reading() as reading:
        rows = reading.execute(common.union_all(of_roles)).all()
    for name, role, limits, updated_at in rows:
        if name not in policy.configured:  # a setting that a later or an earlier release has
            continue
        change = changes.setdefault(name, _Change())
        change.note(updated_at)
        if role is None:
            change.limits = limits
        else:
            change.by_role[role] = limits
    return changes


def _follow(policy: Policy) -> Mapping[str, _Change]:
    """Put what administrators changed in force in this process, and return it."""
    named: dict[str, NamedLimits] = {}
    # Whoever read last puts in force last.
    with policy.updating:
        changes = _load_changes(policy)
        for name, change in changes.items():
            configured = policy.configured[name]
            try:
                by_role = {role: parse_limits(text) for role, text in change.by_role.items()}
                limits = parse_limits(change.limits) if change.limits else configured.limits
                named[name] = NamedLimits(limits, {**configured.by_role, **by_role})
            except LimitError:
                logger.exception("the database holds limits that cannot be read; %s stays as it is configured", name)
        policy.replace(named)
    return changes


def _describe(policy: Policy, name: str, changes: Mapping[str, _Change]) -> RateLimitState:
    configured, change = policy.configured[name], changes.get(name, _Change())
    return RateLimitState(
        name=name,
        limits=change.limits or configured.limits.text,
        by_role={role: str(limits) for role, limits in {**configured.by_role, **change.by_role}.items()},
        configured=configured.limits.text,
        changed_at=change.at,
    )
