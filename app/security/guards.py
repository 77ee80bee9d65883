"""Guards: who may call a route. A route without a guard refuses everybody."""

import dataclasses
import datetime
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from flask import Flask, current_app, request
from flask_login import current_user

from app.clock import now
from app.utils import Forbidden, NotSignedIn, add_log_context

from .owners import get_owner_column

View = TypeVar("View", bound="Callable[..., Any]")

_ATTRIBUTE: Final = "_gatehouse_guard"
FRESH_SECONDS: Final = 600


class PermissionMissing(Forbidden):
    """The caller lacks a permission."""


class ReauthenticationRequired(Forbidden):
    """The password was given too long ago for this call."""

    detail = "Give your password again (POST /api/v1/auth/reauthenticate), then repeat this within 10 minutes."


class PasswordChangeRequired(Forbidden):
    """An administrator wants the caller to change the password before anything else."""

    detail = "Change your password first (POST /api/v1/auth/password/change): an administrator asked for it."


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """Who may call a route: anybody, or a caller with ``permissions`` and, if ``is_fresh``, a recent password.

    With ``or_own`` callers without the permissions are let in too, and reach their own rows of that model; with
    ``is_before_password_change`` also those who have to change their password before anything else.
    """

    is_public: bool = False
    permissions: frozenset[str] = frozenset()
    is_fresh: bool = False
    or_own: type[Any] | None = None
    is_before_password_change: bool = False


def public(view: View) -> View:
    """Let anybody call ``view``.

    Raises:
        LookupError: it has another guard already.
    """
    return _set_guard(view, Guard(is_public=True))


def requires(
    *permissions: str, fresh: bool = False, or_own: type[Any] | None = None, before_password_change: bool = False
) -> Callable[[View], View]:
    """Let only signed-in callers who hold all of ``permissions`` call the view.

    With ``fresh`` the password must have been given within the last ``FRESH_SECONDS``. A permission that nobody has
    declared stops the start. With ``or_own``, a model that refers to users, everybody who is signed in may call the
    view, which is told in ``owner`` whose rows it is about: None, all rows, for those who hold ``permissions``, and for
    all others their own id. With ``before_password_change`` also those may call it who have to change their password
    before anything else.

    Raises:
        LookupError: there is ``or_own``, and no permission for all rows, no reference to users or no ``owner``; or the
            view has another guard already.
    """
    if or_own is not None:
        if not permissions:
            raise LookupError("or_own needs a permission beside it: say which one reaches the rows of others")
        get_owner_column(or_own)
    guard = Guard(
        permissions=frozenset(permissions),
        is_fresh=fresh,
        or_own=or_own,
        is_before_password_change=before_password_change,
    )

    def decorate(view: View) -> View:
        return _set_guard(view, guard) if or_own is None else _tell_owner(_set_guard(view, guard), guard)

    return decorate


def _set_guard(view: View, guard: Guard) -> View:
    # The upper of two would quietly take the place of the other.
    if find_guard(view) is not None:
        raise LookupError(
            f"{getattr(view, '__name__', view)} has two guards, leave one: of several permissions, name all"
        )
    setattr(view, _ATTRIBUTE, guard)
    return view


def _tell_owner(view: View, guard: Guard) -> View:
    """Return ``view``, called with whose rows it is about."""
    owner = inspect.signature(view).parameters.get("owner")
    # With a default, a view that is called in another way would quietly reach all rows.
    if owner is None or owner.kind is not owner.KEYWORD_ONLY or owner.default is not owner.empty:
        raise LookupError(
            f"{view.__name__} has or_own, so give it the parameter `*, owner: uuid.UUID | None`, without a default:"
            " whose rows it is about, or None for all"
        )

    @functools.wraps(view)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the view's own
        caller = current_user.user
        kwargs["owner"] = None if guard.permissions <= caller.permissions else caller.id
        return view(*args, **kwargs)

    return call  # type: ignore[return-value] # without the parameter that it fills in


def find_guard(view: object) -> Guard | None:
    """Return the guard of ``view``, or None."""
    return getattr(view, _ATTRIBUTE, None)


def check_guards(app: Flask, declared: Collection[str]) -> None:
    """Make sure that every route of ``app`` has a guard, and that those name permissions that are ``declared``.

    Call it after all routes are registered.

    Raises:
        LookupError: naming the routes without one, or what they name.
    """
    unguarded = sorted(name for name, view in app.view_functions.items() if find_guard(view) is None)
    if unguarded:
        raise LookupError(f"these routes have no guard, put @requires(...) or @public on them: {', '.join(unguarded)}")
    named = frozenset[str]().union(
        *(guard.permissions for guard in map(find_guard, app.view_functions.values()) if guard)
    )
    if unknown := sorted(named.difference(declared)):
        raise LookupError(f"declare {', '.join(unknown)} in app/permissions.py first")


def enforce_guard() -> None:
    """Refuse the current request unless its route's guard lets the caller in.

    Raises:
        NotSignedIn: the route is not public, and nobody is signed in.
        PasswordChangeRequired: the caller has to change the password before anything else.
        PermissionMissing: the caller lacks a permission, or the route has no guard.
        ReauthenticationRequired: the route needs a password given recently.
    """
    rule = request.url_rule
    # Flask itself answers OPTIONS, and a browser's preflight carries no cookie; unless the route says that it does.
    if rule is None or (request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False)):
        return
    guard = find_guard(current_app.view_functions[rule.endpoint])
    if guard is None:
        raise PermissionMissing
    if guard.is_public:
        return
    principal = current_user._get_current_object()  # noqa: SLF001 - Flask's own way past its proxy
    if not principal.is_authenticated:
        raise NotSignedIn
    add_log_context(user_id=str(principal.user.id))
    if principal.user.is_password_change_required and not guard.is_before_password_change:
        raise PasswordChangeRequired
    if guard.or_own is None and not guard.permissions <= principal.user.permissions:
        missing = ", ".join(sorted(guard.permissions - principal.user.permissions))
        raise PermissionMissing(f"This needs the permission {missing}. Ask an administrator for it.")
    if guard.is_fresh:
        require_fresh()


def require_fresh() -> None:
    """Refuse the signed-in caller's request unless the password was given within the last ``FRESH_SECONDS``.

    Raises:
        ReauthenticationRequired: it was not.
    """
    if not is_fresh(current_user.session.authenticated_at):
        raise ReauthenticationRequired


def is_fresh(authenticated_at: datetime.datetime | None) -> bool:
    """Say whether a password given at ``authenticated_at`` is recent enough."""
    return authenticated_at is not None and (now() - authenticated_at).total_seconds() < FRESH_SECONDS
