"""Which limits are in force: changed at run time, those of roles, switched off; and how they are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask import Flask

from app.ratelimit import (
    Caller,
    Limiter,
    LimitError,
    NamedLimits,
    RateLimited,
    StorageUriError,
    parse_limits,
    parse_role_limits,
    rate_limit,
)
from tests.unit.ratelimit.shop import account, ask, make_app

if TYPE_CHECKING:
    from flask.testing import FlaskClient


def test_limits_change_at_run_time_and_keep_what_was_counted() -> None:
    app, limiter = make_app()

    @app.post("/")
    @rate_limit("RATELIMIT_LOGIN")
    def home() -> str:
        return ""

    client = app.test_client()
    assert ask(client, "/", 2) == [200, 200]
    with app.app_context():
        policy = limiter.policy
    assert policy is not None
    policy.replace({"login": NamedLimits(parse_limits("5/minute"))})
    assert str(policy.in_force["login"].limits) == "5/minute"
    with pytest.raises(LimitError):
        policy.replace({"login": NamedLimits(parse_limits("5 apples"))})
    with pytest.raises(LimitError, match="lgin"):
        policy.replace({"lgin": NamedLimits(parse_limits("5/minute"))})
    assert ask(client, "/", 4) == [200, 200, 200, 429]
    # What is not named is as configured; what was counted stays counted.
    policy.replace({})
    assert ask(client, "/", 1) == [429]


def make_role_app(roles: str, callers: list[Caller | None]) -> FlaskClient:
    app = Flask("shop")
    limits = {"login": parse_limits("3/minute"), "other": parse_limits("2/minute")}
    Limiter().init_app(app, limits=limits, roles=parse_role_limits(roles), find_caller=lambda: callers[0])
    app.register_error_handler(RateLimited, lambda _error: ("", 429))
    app.post("/", endpoint="home")(rate_limit("RATELIMIT_LOGIN")(lambda: ""))
    app.post("/other", endpoint="other")(rate_limit("RATELIMIT_OTHER", by=account)(lambda: ""))
    return app.test_client()


def test_a_caller_has_the_most_generous_limits_of_their_roles() -> None:
    callers: list[Caller | None] = [Caller("user:1", frozenset({"trial", "staff", "plain"}))]
    client = make_role_app("trial.login=1/minute staff.login=5/minute;100/hour, boss.login=9/minute", callers)
    assert ask(client, "/", 6) == [200] * 5 + [429]
    callers[0] = Caller("user:2", frozenset({"trial"}))
    assert ask(client, "/", 2) == [200, 429]
    assert client.post("/").headers["RateLimit-Policy"] == '"login-60";q=1;w=60'


def test_who_has_no_role_with_limits_of_its_own_is_counted_by_address_and_apart_from_who_has() -> None:
    callers: list[Caller | None] = [Caller("user:1", frozenset({"staff"}))]
    client = make_role_app("staff.login=50/minute", callers)
    assert ask(client, "/", 20) == [200] * 20
    for caller in (None, Caller("user:2", frozenset({"plain"}))):
        callers[0] = caller
        assert ask(client, "/", 4) == ([200] * 3 + [429] if caller is None else [429] * 4)


def test_a_limit_that_counts_no_addresses_goes_on_counting_what_it_counts() -> None:
    callers: list[Caller | None] = [Caller("user:1", frozenset({"staff"}))]
    client = make_role_app("staff.other=4/minute", callers)
    assert ask(client, "/other", 3, json={"email": "a"}) == [200] * 3
    callers[0] = None
    assert ask(client, "/other", 1, json={"email": "a"}) == [429]
    assert ask(client, "/other", 1, json={"email": "b"}) == [200]


@pytest.mark.parametrize(
    "text",
    [
        "staff",
        "staff.login",
        "staff.login=",
        "staff.login=5",
        "x staff.login=5/minute",
        "staff.typo=5/minute",
        "staff.login=5/minute staff.login=6/minute",
        "Staff.login=5/minute",
        "login=5/minute",
        "=5/minute",
    ],
)
def test_malformed_limits_of_roles_stop_the_start(text: str) -> None:
    with pytest.raises(LimitError, match=r"ROLE|minute|typo|two"):
        make_role_app(text, [None])


@pytest.mark.parametrize(
    ("generous", "mean"),
    [
        ("10/minute", "9/minute"),
        ("60/minute", "600/day"),
        ("10/minute;100/hour", "20/minute;90/hour"),
        ("10/second", "1/second"),
        ("20/minute;100/hour", "10/minute;100/hour"),
    ],
)
def test_what_admits_more_for_ever_is_more_generous_then_what_admits_more_at_once(generous: str, mean: str) -> None:
    assert parse_limits(generous).generosity > parse_limits(mean).generosity


def test_headers_and_limits_can_be_switched_off() -> None:
    app, limiter = make_app(is_limited=False)
    app.post("/", endpoint="home")(rate_limit("1/minute")(lambda: ""))
    assert ask(app.test_client(), "/", 3) == [200] * 3
    with app.app_context():
        assert not limiter.is_degraded()
        assert limiter.inspector.show("x") == []
    app, _ = make_app(has_headers=False)
    app.post("/", endpoint="home")(rate_limit("1/minute")(lambda: ""))
    assert "RateLimit" not in app.test_client().post("/").headers
    assert "Retry-After" in app.test_client().post("/").headers


def test_old_clients_get_the_old_headers_on_demand() -> None:
    app, _ = make_app(has_legacy_headers=True)
    app.post("/", endpoint="home")(rate_limit("2/minute;3/hour")(lambda: ""))
    headers = app.test_client().post("/").headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "1")
    assert headers["X-RateLimit-Reset"] == "60"


def test_malformed_settings_stop_the_start() -> None:
    with pytest.raises(StorageUriError, match="redis://"):
        make_app(storage="redis//typo")
    with pytest.raises(LimitError, match="10/minute;100/hour"):
        make_app(login="10 a minute")
    with pytest.raises(LimitError):
        rate_limit("10/fortnight")


def test_a_rule_that_names_no_setting_is_found_before_any_request() -> None:
    app, limiter = make_app()
    app.post("/a", endpoint="a")(rate_limit("RATELIMIT_LOGIN")(lambda: ""))
    limiter.check(app)
    app.post("/b", endpoint="b")(rate_limit("RATELIMIT_TYPO")(lambda: ""))
    with pytest.raises(LimitError, match="RATELIMIT_TYPO"):
        limiter.check(app)


def test_the_busiest_and_the_refused_can_be_seen() -> None:
    app, limiter = make_app()
    app.post("/", endpoint="home")(rate_limit("2/minute")(lambda: ""))
    ask(app.test_client(), "/", 5)
    with app.app_context():
        assert limiter.inspector.rank(1) == [("address:127.0.0.1", "home-60", 2)]
        assert limiter.inspector.count_refused() == {("home-60", "address:127.0.0.1"): 3}
