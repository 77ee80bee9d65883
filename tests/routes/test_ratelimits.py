"""The administrator's view of the rate limits, and what changes there."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from app.extensions import limiter, transaction
from app.http import limits as http_limits
from app.models import RateLimit
from app.permissions import PERMISSIONS
from app.services import ratelimits
from gatehouse.testing.factories import Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from werkzeug.test import TestResponse

LIMITS = "/api/v1/ratelimits"
NAMES = ["default", "login", "login-address", "register", "mail", "token", "proof-of-work"]
LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN="5/hour", RATELIMIT_DEFAULT="1000/minute")


def assert_refused(response: TestResponse, status: int, code: str) -> None:
    assert (response.status_code, response.get_json()["code"]) == (status, code), response.text


def guess(browser: Browser, email: str) -> TestResponse:
    return browser.post(LOGIN, {"email": email, "password": "not the password at all"})


def find(browser: Browser, name: str) -> Any:
    items = browser.get(LIMITS).get_json()["items"]
    return next(item for item in items if item["name"] == name)


def test_the_limits_in_force_are_listed(admin_browser: Browser) -> None:
    answer = admin_browser.get(LIMITS).get_json()
    assert [item["name"] for item in answer["items"]] == NAMES
    assert find(admin_browser, "login") == {
        "name": "login",
        "limits": "5/hour",
        "roles": {},
        "configured": "5/hour",
        "changed_at": None,
    }
    assert (answer["enabled"], answer["degraded"]) == (True, False)


def test_a_changed_limit_holds_at_once_and_what_was_counted_stays_counted(
    admin_browser: Browser, factory: Factory
) -> None:
    user, stranger = factory.user(), Browser(factory.app)
    assert [guess(stranger, user.email).status_code for _ in range(6)] == [401] * 5 + [429]
    changed = admin_browser.patch(f"{LIMITS}/login", {"limits": "7/hour"})
    assert changed.status_code == 200
    assert (changed.get_json()["limits"], changed.get_json()["configured"]) == ("7/hour", "5/hour")
    assert changed.get_json()["changed_at"].endswith("Z")
    assert find(admin_browser, "login") == changed.get_json()
    assert [guess(stranger, user.email).status_code for _ in range(3)] == [401, 401, 429]
    reset = admin_browser.delete(f"{LIMITS}/login")
    assert (reset.status_code, reset.get_json()["limits"], reset.get_json()["changed_at"]) == (200, "5/hour", None)
    assert guess(stranger, user.email).headers["RateLimit-Policy"].count("q=5;w=3600") == 1


def test_another_process_follows_without_a_restart(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_limits, "FOLLOW_SECONDS", 0.05)
    settings = {"RATELIMIT_ENABLED": "true", "RATELIMIT_DEFAULT": "100/minute"}
    one, other = make_app(**settings), Browser(make_app(**settings))
    factory = Factory(one)
    admin = factory.sign_in(factory.admin())
    assert '"default-60";q=100' in other.get(ME).headers["RateLimit-Policy"]
    admin.patch(f"{LIMITS}/default", {"limits": "90/minute"})
    deadline = time.monotonic() + 5
    while '"default-60";q=90' not in other.get(ME).headers["RateLimit-Policy"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_where_no_thread_can_be_had_requests_go_on_and_changes_are_followed_later(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_limits, "FOLLOW_SECONDS", 0)
    followed = threading.Event()
    monkeypatch.setattr(ratelimits, "follow_changes", followed.set)
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        assert [Browser(app).get("/livez").status_code for _ in range(2)] == [200, 200]
    assert Browser(app).get("/livez").status_code == 200
    assert followed.wait(10)


def test_a_role_has_limits_of_its_own_until_they_are_taken_away(admin_browser: Browser, factory: Factory) -> None:
    factory.role(name="partner")
    partner = factory.sign_in(factory.user(roles=["partner"]))
    plain = factory.sign_in(factory.user())
    answer = admin_browser.patch(f"{LIMITS}/default", {"roles": {"partner": "3000/minute;90000/day"}})
    assert answer.get_json()["roles"] == {"partner": "3000/minute;90000/day"}
    assert answer.get_json()["limits"] == "1000/minute"
    assert partner.get(ME).headers["RateLimit-Policy"] == '"default-60";q=3000;w=60, "default-86400";q=90000;w=86400'
    assert plain.get(ME).headers["RateLimit-Policy"] == '"default-60";q=1000;w=60'
    assert Browser(factory.app).get(ME).headers["RateLimit-Policy"] == '"default-60";q=1000;w=60'
    # What one does not name stays.
    admin_browser.patch(f"{LIMITS}/default", {"limits": "900/minute"})
    assert find(admin_browser, "default")["roles"] == {"partner": "3000/minute;90000/day"}
    admin_browser.patch(f"{LIMITS}/default", {"roles": {"partner": None}})
    assert find(admin_browser, "default")["roles"] == {}
    assert partner.get(ME).headers["RateLimit-Policy"] == '"default-60";q=900;w=60'


def test_a_deleted_role_takes_its_limits_along(admin_browser: Browser, factory: Factory) -> None:
    factory.role(name="partner")
    admin_browser.patch(f"{LIMITS}/default", {"roles": {"partner": "1/minute"}})
    admin_browser.delete("/api/v1/roles/partner")
    factory.role(name="partner")
    assert find(admin_browser, "default")["roles"] == {}


def test_the_settings_give_roles_limits_too(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_ROLES="user.default=7/minute admin.default=70/minute")
    factory = Factory(app)
    admin, user = factory.sign_in(factory.admin()), factory.sign_in(factory.user())
    assert "q=7;" in user.get(ME).headers["RateLimit-Policy"]
    assert "q=70;" in admin.get(ME).headers["RateLimit-Policy"]
    assert find(admin, "default")["roles"] == {"user": "7/minute", "admin": "70/minute"}


def test_a_request_costs_one_query_whether_or_not_roles_have_limits(
    admin_browser: Browser, statements: list[str]
) -> None:
    for body in ({"limits": "900/minute"}, {"roles": {"admin": "9000/minute"}}):
        admin_browser.patch(f"{LIMITS}/default", body)
        statements.clear()
        assert admin_browser.get(ME).status_code == 200
        assert len(statements) == 1


def test_the_fullest_windows_and_the_refused_are_shown(admin_browser: Browser, factory: Factory) -> None:
    user, stranger = factory.user(), Browser(factory.app)
    for _ in range(8):
        guess(stranger, user.email)
    answer = admin_browser.get(f"{LIMITS}?minutes=2&limit=50").get_json()
    key = f"account:{user.email}"
    assert {"key": key, "limit": "login-3600", "units": 5} in answer["busiest"]
    assert answer["busiest"][0]["units"] >= answer["busiest"][-1]["units"]
    assert answer["refused"] == [{"key": key, "limit": "login-3600", "count": 3}]
    assert answer["minutes"] == 2
    assert len(admin_browser.get(f"{LIMITS}?limit=1").get_json()["busiest"]) == 1


def test_what_was_counted_can_be_cleared_by_key(admin_browser: Browser, factory: Factory) -> None:
    user, stranger = factory.user(), Browser(factory.app)
    assert [guess(stranger, user.email).status_code for _ in range(6)] == [401] * 5 + [429]
    assert admin_browser.post(f"{LIMITS}/clear", {"key": f"account:{user.email.upper()}"}).status_code == 204
    assert guess(stranger, user.email).status_code == 401
    assert admin_browser.post(f"{LIMITS}/clear", {"key": "address:2001:db8::1"}).status_code == 204
    entries = admin_browser.get("/api/v1/audit?action=ratelimit.cleared").get_json()["items"]
    assert [entry["target"] for entry in entries] == ["address:2001:db8::/64", str(user.id)]


def test_whoever_may_not_unlock_an_account_cannot_clear_its_guesses_either(admin: Any, factory: Factory) -> None:
    clerk = factory.sign_in(factory.user(roles=[factory.role("users:write", "ratelimits:write").name]))
    stranger = Browser(factory.app)
    assert [guess(stranger, admin.email).status_code for _ in range(6)] == [401] * 5 + [429]
    for path, body in (
        (f"/api/v1/users/{admin.id}/unlock", None),
        (f"{LIMITS}/clear", {"key": f"account:{admin.email}"}),
    ):
        assert_refused(clerk.post(path, body), 403, "target_outranks_actor")
    assert guess(stranger, admin.email).status_code == 429
    for email in (factory.user().email, "nobody@example.com"):
        assert clerk.post(f"{LIMITS}/clear", {"key": f"account:{email}"}).status_code == 204


@pytest.mark.parametrize("key", ["nobody", "account:", ":x", "account:no address", "::"])
def test_a_key_that_names_nobody_is_refused(admin_browser: Browser, key: str) -> None:
    assert_refused(
        admin_browser.post(f"{LIMITS}/clear", {"key": key}), 422, "invalid_key" if len(key) > 2 else "invalid_input"
    )


def test_who_changed_a_limit_is_in_the_audit_trail(admin_browser: Browser, admin: Any) -> None:
    admin_browser.patch(f"{LIMITS}/default", {"limits": "900/minute", "roles": {"user": "800/minute"}})
    admin_browser.delete(f"{LIMITS}/default")
    reset, changed = admin_browser.get("/api/v1/audit?target=default").get_json()["items"]
    assert (reset["action"], changed["action"]) == ("ratelimit.reset", "ratelimit.changed")
    assert changed["details"] == {"limits": "900/minute", "roles": {"user": "800/minute"}}
    assert changed["actor"] == str(admin.id)


@pytest.mark.parametrize(
    ("permission", "method", "path", "body"),
    [
        ("ratelimits:read", "GET", LIMITS, None),
        ("ratelimits:write", "PATCH", f"{LIMITS}/default", {"limits": "1000/minute"}),
        ("ratelimits:write", "DELETE", f"{LIMITS}/default", None),
        ("ratelimits:write", "POST", f"{LIMITS}/clear", {"key": "address:192.0.2.1"}),
    ],
)
def test_every_route_wants_its_permission_and_no_other(
    factory: Factory, permission: str, method: str, path: str, body: Any
) -> None:
    without = factory.sign_in(factory.user(roles=[factory.role(*(PERMISSIONS.keys() - {permission})).name]))
    assert_refused(without.send(method, path, body), 403, "permission_missing")
    granted = factory.sign_in(factory.user(roles=[factory.role(permission).name]))
    assert granted.send(method, path, body).status_code in {200, 204}


@pytest.mark.parametrize(
    "text",
    ["5 per 15 minutes", "100/month", "10 per minute", "5/100 days", "9/2 hours, 30/day", "5/minute;" * 5 + "5/day"],
)
def test_what_the_settings_take_the_api_takes_too(admin_browser: Browser, text: str) -> None:
    answer = admin_browser.patch(f"{LIMITS}/login", {"limits": text, "roles": {"user": text}})
    assert answer.get_json()["limits"] == answer.get_json()["roles"]["user"] == text


def test_a_body_with_thousands_of_roles_is_refused_in_one_line(admin_browser: Browser) -> None:
    answer = admin_browser.patch(f"{LIMITS}/login", {"roles": {f"R{number}": "x" for number in range(4000)}})
    assert (answer.status_code, answer.get_json()["errors"]) == (422, {"roles": ["Name at most 100 roles at once."]})
    assert len(answer.data) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/fortnight",
        "0/minute",
        "5/0 minutes",
        "-5/minute",
        "1e3/minute",
        "5/minute\n",
        "5/minute;;6/hour",
        "9999999999/minute",
        "5/400 days",
        "\N{ARABIC-INDIC DIGIT FIVE}/minute",
        "5 per minutes of the hour",
        None,
        5,
        ["5/minute"],
    ],
)
def test_malformed_limits_are_refused_and_change_nothing(admin_browser: Browser, text: object) -> None:
    assert_refused(admin_browser.patch(f"{LIMITS}/login", {"limits": text}), 422, "invalid_input")
    if text is not None:
        assert_refused(admin_browser.patch(f"{LIMITS}/login", {"roles": {"user": text}}), 422, "invalid_input")
    assert find(admin_browser, "login")["changed_at"] is None


def test_what_does_not_exist_is_refused_by_name(admin_browser: Browser) -> None:
    assert_refused(admin_browser.patch(f"{LIMITS}/lgin", {"limits": "5/minute"}), 404, "rate_limit_not_found")
    assert_refused(admin_browser.delete(f"{LIMITS}/lgin"), 404, "rate_limit_not_found")
    body = {"limits": "9/minute", "roles": {"user": "8/minute", "nobody": "5/minute"}}
    answer = admin_browser.patch(f"{LIMITS}/login", body)
    assert_refused(answer, 422, "unknown_role")
    assert answer.get_json()["errors"] == {"roles": ["There is no role 'nobody'."]}
    assert answer.get_json()["error_codes"] == {"roles": [{"code": "unknown_role", "role": "nobody"}]}
    assert find(admin_browser, "login")["changed_at"] is None


def test_limits_in_the_database_that_cannot_be_read_leave_the_configured_ones(app: Flask, factory: Factory) -> None:
    admin = factory.sign_in(factory.admin())
    admin.patch(f"{LIMITS}/default", {"limits": "900/minute"})
    with app.app_context():
        with transaction() as writing:
            writing.execute(sa.update(RateLimit).values(limits="900 apples"))
            writing.add(RateLimit(name="of-another-release", limits="5/minute"))
        ratelimits.follow_changes()
        assert limiter.policy is not None
        assert limiter.policy.in_force["default"].limits.text == "1000/minute"


def test_with_limits_switched_off_there_is_nothing_to_change(make_app: Callable[..., Flask]) -> None:
    factory = Factory(make_app(RATELIMIT_ENABLED="false"))
    admin = factory.sign_in(factory.admin())
    answer = admin.get(LIMITS).get_json()
    assert (answer["enabled"], answer["items"], answer["busiest"]) == (False, [], [])
    assert_refused(admin.patch(f"{LIMITS}/login", {"limits": "5/minute"}), 404, "rate_limit_not_found")
