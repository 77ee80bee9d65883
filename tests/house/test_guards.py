"""Default deny: who may call what is declared, and holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from flask import Flask

import app as package
from app.permissions import PERMISSIONS
from app.security import find_guard, guards, public, requires
from app.services.accounts import InvalidCredentials

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything that a stranger may call. Whatever is not here refuses one.
PUBLIC: Final = {
    ("GET", "/account/<string:page>"),
    ("GET", "/account/colors.css"),
    ("GET", "/dev/mail"),
    ("GET", "/dev/mail/<string:template>/<string:language>/<string:form>"),
    ("POST", "/api/v1/auth/email/verify"),
    ("POST", "/api/v1/auth/email/verify/resend"),
    ("POST", "/api/v1/auth/not-me"),
    ("POST", "/api/v1/auth/password/forgot"),
    ("POST", "/api/v1/auth/password/reset"),
    ("GET", "/api/v1/auth/csrf"),
    ("GET", "/api/v1/auth/proof-of-work"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/mail-sign-in"),
    ("POST", "/api/v1/auth/mail-sign-in/verify"),
    ("POST", "/api/v1/auth/register"),
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/livez"),
    ("GET", "/openapi.json"),
    ("GET", "/readyz"),
    ("GET", "/static/<path:filename>"),
}
# Those at least; whoever adds one that wants the password anew need not say so here.
FRESH: Final = {("DELETE", "/api/v1/users/me")}


def list_routes(app: Flask) -> list[tuple[str, str, Any]]:
    """Return method, rule and view of every route."""
    return [
        (method, rule.rule, app.view_functions[rule.endpoint])
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def test_every_route_refuses_a_stranger_unless_it_is_listed(app: Flask) -> None:
    answered = set()
    for method, rule, _ in list_routes(app):
        path = re.sub(r"<uuid:\w+>", "01a205ce-9fce-72c0-a45e-35cac95071fb", rule)
        path = re.sub(r"<[^>]+>", "x", path)
        response = app.test_client().open(path, method=method, json={} if method != "GET" else None)
        if response.status_code == 401:
            assert response.get_json()["code"] == "not_signed_in"
        else:
            answered.add((method, rule))
        response.close()
    assert answered == PUBLIC


def test_the_listed_routes_are_those_that_say_they_are_public(app: Flask) -> None:
    declared = {
        (method, rule) for method, rule, view in list_routes(app) if (guard := find_guard(view)) and guard.is_public
    }
    assert declared == PUBLIC


def test_whatever_checks_a_password_charges_the_accounts_guesses_and_only_those_that_were_wrong(app: Flask) -> None:
    checking = [
        (path, view)
        for _method, path, view in list_routes(app)
        if InvalidCredentials in getattr(view, "_gatehouse_raises", ())
    ]
    assert len(checking) >= 3
    for path, view in checking:
        rules = [rule for rule in view.__rate_limits__ if rule.name == "login"]
        assert [rule.failures_only for rule in rules] == [InvalidCredentials], path


def test_the_routes_that_cannot_be_undone_want_the_password_anew(app: Flask) -> None:
    declared = {
        (method, rule) for method, rule, view in list_routes(app) if (guard := find_guard(view)) and guard.is_fresh
    }
    assert declared >= FRESH


def test_an_application_with_an_unguarded_route_does_not_start(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithAnother(package._App):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_url_rule("/forgotten", "forgotten", lambda: "secret")

    monkeypatch.setattr(package, "_App", WithAnother)
    with pytest.raises(LookupError, match="forgotten"):
        make_app()


def test_a_route_that_lost_its_guard_refuses_everybody(
    app: Flask, admin_browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert admin_browser.get("/api/v1/users").status_code == 200
    monkeypatch.delattr(app.view_functions["user.list_users"], guards._ATTRIBUTE)
    response = admin_browser.get("/api/v1/users")
    assert (response.status_code, response.get_json()["code"]) == (403, "permission_missing")


def test_a_guard_names_declared_permissions_only() -> None:
    app = Flask(__name__)
    app.view_functions = {"static": public(lambda: ""), "fly": requires("users:read", "users:fly")(lambda: "")}
    with pytest.raises(LookupError, match="declare users:fly in"):
        guards.check_guards(app, PERMISSIONS)
    assert find_guard(public(lambda: None)) is not None


def test_a_route_that_answers_options_itself_is_guarded_there_too(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithAnother(package._App):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_url_rule("/told", "told", requires("users:read")(lambda: "secret"), methods=["OPTIONS"])

    monkeypatch.setattr(package, "_App", WithAnother)
    browser = make_app().test_client()
    assert browser.options("/told", base_url="http://localhost").status_code == 401
    assert browser.options("/api/v1/users", base_url="http://localhost").status_code == 200, "Flask answers a preflight"


@pytest.mark.parametrize(
    ("upper", "lower"),
    [(public, requires("users:read")), (requires("users:read"), public), (requires("a:b"), requires("users:read"))],
)
def test_of_two_guards_none_quietly_takes_the_place_of_the_other(upper: Any, lower: Any) -> None:
    def view() -> str:
        return "secret"

    with pytest.raises(LookupError, match="view has two guards, leave one"):
        upper(lower(view))
