"""Who may call from where: proxies, hosts and origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LIVE = "/livez"
CSRF = "/api/v1/auth/csrf"
ME = "/api/v1/users/me"
ORIGIN = "https://app.example.com"
CORS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods")


def find_ip(app: Flask, user: Any, **headers: str) -> str:
    """Return the address that a sign-in with ``headers`` is recorded with."""
    browser = Browser(app)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"email": user.email, "password": PASSWORD}
    assert browser.post("/api/v1/auth/login", body, headers=named).status_code == 200
    current = next(item for item in browser.get(f"{ME}/sessions").get_json()["items"] if item["current"])
    return str(current["ip"])


def test_without_a_trusted_proxy_forwarded_headers_are_ignored(app: Flask, user: Any) -> None:
    forged = {"X_Forwarded_For": "6.6.6.6", "X_Forwarded_Host": "evil.test", "X_Forwarded_Proto": "https"}
    assert find_ip(app, user, **forged, Forwarded="for=6.6.6.6", X_Real_IP="6.6.6.6") == "127.0.0.1"


def test_of_one_trusted_proxy_the_right_most_entry_counts(make_app: Callable[..., Flask], user: Any) -> None:
    app = make_app(TRUSTED_PROXIES="1")
    assert find_ip(app, user, X_Forwarded_For="6.6.6.6, 192.0.2.7") == "192.0.2.7"
    assert find_ip(app, user) == "127.0.0.1"


def test_behind_two_proxies_the_second_from_the_right_counts(make_app: Callable[..., Flask], user: Any) -> None:
    app = make_app(TRUSTED_PROXIES="2")
    assert find_ip(app, user, X_Forwarded_For="6.6.6.6, 192.0.2.7, 10.0.0.1") == "192.0.2.7"
    # Whoever reaches the server past the proxies is not believed.
    assert find_ip(app, user, X_Forwarded_For="6.6.6.6") == "127.0.0.1"


def test_of_proxies_named_by_their_addresses_only_those_are_believed(make_app: Callable[..., Flask], user: Any) -> None:
    app = make_app(TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8,2001:db8::/64")
    assert find_ip(app, user, X_Forwarded_For="6.6.6.6, 192.0.2.7") == "192.0.2.7"
    assert (
        find_ip(app, user, X_Forwarded_For="6.6.6.6, 192.0.2.7, 10.1.1.1:4711, 2001:db8::5, ::ffff:10.0.0.9")
        == "192.0.2.7"
    )
    assert find_ip(app, user, X_Forwarded_For="10.0.0.1") == "10.0.0.1"
    assert find_ip(app, user) == "127.0.0.1"
    other = make_app(TRUSTED_PROXIES="10.0.0.0/8")
    assert find_ip(other, user, X_Forwarded_For="6.6.6.6") == "127.0.0.1"
    assert find_ip(other, user, X_Forwarded_For="10.0.0.1, 10.0.0.2") == "127.0.0.1"


@pytest.mark.no_database
def test_a_proxy_that_is_believed_tells_the_host_too_and_no_other_does(make_app: Callable[..., Flask]) -> None:
    forwarded = {
        "Host": "backend",
        "X-Forwarded-Host": "accounts.example.com",
        "X-Forwarded-For": "192.0.2.7, 10.0.0.1",
    }
    for proxies, status in (("127.0.0.1,10.0.0.1", 200), ("10.0.0.1", 400)):
        app = make_app(TRUSTED_PROXIES=proxies, ALLOWED_HOSTS="accounts.example.com")
        assert app.test_client().get(CSRF, headers=forwarded).status_code == status
        assert app.test_client().get(CSRF, headers=forwarded | {"X-Forwarded-For": ""}).status_code == status


@pytest.mark.no_database
def test_a_forwarded_host_is_checked_like_any_other(make_app: Callable[..., Flask]) -> None:
    client = make_app(TRUSTED_PROXIES="1", ALLOWED_HOSTS="accounts.example.com").test_client()
    allowed = {"Host": "backend", "X-Forwarded-Host": "accounts.example.com"}
    assert client.get(CSRF, headers=allowed).status_code == 200
    assert client.get(CSRF, headers=allowed | {"X-Forwarded-Host": "evil.test"}).status_code == 400
    assert (
        client.get(CSRF, headers=allowed | {"X-Forwarded-Host": "accounts.example.com, evil.test"}).status_code == 400
    )


@pytest.mark.parametrize(
    "host", ["accounts.example.com", "ACCOUNTS.example.com", "accounts.example.com:8443", "[::1]:1"]
)
@pytest.mark.no_database
def test_a_listed_host_is_answered_with_any_port(make_app: Callable[..., Flask], host: str) -> None:
    app = make_app(ALLOWED_HOSTS="accounts.example.com,[::1],with-port.example.com:81")
    assert app.test_client().get(CSRF, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "",
        "accounts.example.com.evil.test",
        "evilaccounts.example.com",
        "accounts.example.com.",
        "accounts.example.com:80@evil.test",
        "accounts.example.com:evil",
        "accounts.example.com:",
        "evil.test@accounts.example.com",
        "accounts.example.com, evil.test",
        "with-port.example.com",
        "with-port.example.com:82",
        "a b",
        "é",
        "[::1",
    ],
)
@pytest.mark.no_database
def test_another_host_is_a_problem_with_all_the_usual_headers(make_app: Callable[..., Flask], host: str) -> None:
    app = make_app(ALLOWED_HOSTS="accounts.example.com,[::1],with-port.example.com:81")
    response = app.test_client().get(CSRF, headers={"Host": host})
    assert response.status_code == 400
    assert response.content_type == "application/problem+json"
    assert response.get_json()["request_id"] == response.headers["X-Request-ID"]
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert host == "" or host not in response.text


@pytest.mark.no_database
def test_a_load_balancer_may_ask_by_address(make_app: Callable[..., Flask]) -> None:
    client = make_app(ALLOWED_HOSTS="accounts.example.com").test_client()
    assert client.get(LIVE, headers={"Host": "10.0.0.7:8000"}).status_code == 200
    assert client.get("/livez/", headers={"Host": "10.0.0.7:8000"}).status_code == 400


@pytest.fixture
def cors_app(make_app: Callable[..., Flask]) -> Flask:
    """Lists two origins."""
    return make_app(CORS_ORIGINS=f"{ORIGIN}:443,http://[::1]:3000")


@pytest.mark.parametrize("origin", [ORIGIN, "http://[::1]:3000"])
@pytest.mark.no_database
def test_a_listed_origin_may_call_with_credentials(cors_app: Flask, origin: str) -> None:
    response = cors_app.test_client().get(LIVE, headers={"Origin": origin})
    assert response.headers.getlist("Access-Control-Allow-Origin") == [origin]
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert {"X-Request-ID", "Retry-After"} <= set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert "Origin" in response.vary


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "*",
        "https://evil.test",
        "http://app.example.com",
        f"{ORIGIN}:443",
        f"{ORIGIN}:8443",
        f"{ORIGIN}.evil.test",
        "https://evil.app.example.com",
        "https://appxexample.com",
        f"{ORIGIN}/",
        "http://::3000",
        "http://1:30001",
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.no_database
def test_an_unlisted_origin_gets_nothing_and_caches_are_told(cors_app: Flask, method: str, origin: str | None) -> None:
    headers = {"Access-Control-Request-Method": "DELETE"} | ({"Origin": origin} if origin else {})
    response = cors_app.test_client().open(LIVE, method=method, headers=headers)
    assert [name for name in response.headers.keys() if name.startswith("Access-Control-")] == []  # noqa: SIM118 - Headers is no dict
    assert "Origin" in response.vary


@pytest.mark.no_database
def test_a_preflight_tells_methods_and_headers_and_needs_nobody_signed_in(cors_app: Flask) -> None:
    wanted = "content-type, x-csrf-token, x-evil"
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": wanted,
        "Access-Control-Request-Private-Network": "true",
    }
    response = cors_app.test_client().options(f"{ME}/sessions", headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
    assert response.headers["Access-Control-Allow-Headers"] == "content-type, x-csrf-token"
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert response.headers.get("Access-Control-Allow-Private-Network") != "true"


@pytest.mark.parametrize("path", ["/nothing", ME, "/api/v1/users"])
@pytest.mark.no_database
def test_errors_can_be_read_by_a_listed_origin_too(cors_app: Flask, path: str) -> None:
    response = cors_app.test_client().get(path, headers={"Origin": ORIGIN})
    assert response.status_code >= 400
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.no_database
def test_without_listed_origins_nobody_elses_page_may_read_anything(app: Flask) -> None:
    response = app.test_client().get(LIVE, headers={"Origin": ORIGIN})
    assert not any(name in response.headers for name in CORS)
