"""What every answer carries, whatever became of the request."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from flask import Blueprint, Flask, abort

from app.http import requests
from app.security import public
from app.utils import AppError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Response

    from gatehouse.testing.factories import Browser

SECURE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DIRECTIVES: Final = {"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"}


class Throttled(AppError):
    """A refusal as a limiter makes it."""

    status = 429
    code = "throttled"
    title = "Throttled"


@pytest.fixture
def failing_app(app: Flask) -> Flask:
    """Has routes that fail in every way."""
    blueprint = Blueprint("failing", __name__)

    def fail(how: str) -> str:
        if how == "limit":
            raise Throttled(retry_after_seconds=0)
        if how == "away":
            raise Unavailable(retry_after_seconds=7)
        if how == "bug":
            raise ZeroDivisionError("secret-in-an-exception")
        abort(int(how))

    blueprint.add_url_rule("/fail/<how>", view_func=public(fail))
    app.register_blueprint(blueprint)
    return app


def assert_secure(response: Response) -> None:
    """Expect the headers that belong on every answer."""
    for name, value in SECURE.items():
        assert response.headers[name] == value
    assert set(response.headers["Content-Security-Policy"].split("; ")) >= DIRECTIVES - {"default-src 'none'"}
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert uuid.UUID(response.headers["X-Request-ID"]).version == 7
    assert "Server" not in response.headers or "Werkzeug" not in response.headers["Server"]


def test_answers_of_every_status_carry_the_headers_and_errors_are_problems(
    failing_app: Flask, user_browser: Browser
) -> None:
    big = b'{"name": "' + b"x" * 70_000 + b'"}'
    token = {"X-CSRF-Token": user_browser.csrf_token(), "Content-Type": "application/json"}
    client, me = user_browser.client, "/api/v1/users/me"
    answers = {
        200: [client.get(me), client.get("/livez"), client.options(me), client.get("/openapi.json")],
        204: [client.delete(f"{me}/sessions", headers=token)],
        400: [client.patch(me, data=b"{", headers=token), client.get("/fail/400")],
        401: [failing_app.test_client().get(me)],
        403: [client.get("/api/v1/users"), client.patch(me, json={}), client.get("/fail/403")],
        404: [client.get("/nothing"), client.get("/static/nothing"), client.get("/static/../app/config.py")],
        405: [client.put(me, headers=token), client.open("/livez", method="TRACE")],
        413: [client.patch(me, data=big, headers=token)],
        415: [client.patch(me, data=b"{}", headers=token | {"Content-Type": "text/plain"})],
        418: [client.get("/fail/418")],
        422: [client.patch(me, json={"is_active": False}, headers=token)],
        429: [client.get("/fail/limit")],
        500: [client.get("/fail/bug"), client.get("/fail/500")],
        503: [client.get("/fail/away"), client.get("/fail/503")],
    }
    for status, responses in answers.items():
        for response in responses:
            assert response.status_code == status, (status, response.request.path, response.status_code)
            assert_secure(response)
            assert "Cookie" in response.vary
            if not response.request.path.startswith("/static/"):
                assert response.headers["Cache-Control"] == "no-store"
            if status >= 400:
                assert response.content_type == "application/problem+json"
                problem = response.get_json()
                assert problem.keys() >= {"type", "title", "status", "detail", "code", "request_id"}
                assert (problem["status"], problem["request_id"]) == (status, response.headers["X-Request-ID"])
                assert problem["type"].endswith(problem["code"])


@pytest.mark.no_database
def test_an_error_of_ours_tells_nothing_about_its_inside(failing_app: Flask) -> None:
    response = failing_app.test_client().get("/fail/bug")
    assert response.get_json()["code"] == "internal_error"
    assert not re.search(r"secret-in|ZeroDivision|Traceback|\.py", response.text)


@pytest.mark.no_database
def test_retry_after_is_a_whole_second_at_least(failing_app: Flask) -> None:
    client = failing_app.test_client()
    assert client.get("/fail/limit").headers["Retry-After"] == "1"
    assert client.get("/fail/away").headers["Retry-After"] == "7"


@pytest.mark.no_database
def test_a_refused_method_names_those_that_are_taken(app: Flask) -> None:
    assert app.test_client().put("/api/v1/users/me").headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


@pytest.mark.no_database
def test_static_files_carry_the_headers_and_may_be_kept(app: Flask, tmp_path: Any) -> None:
    (tmp_path / "style.css").write_text("body {}")
    app.static_folder = str(tmp_path)
    with app.test_client().get("/static/style.css") as response:
        assert response.status_code == 200
        assert_secure(response)
        assert "no-store" not in response.headers.get("Cache-Control", "")
    for path in ("/static/../secret", "/static/%2e%2e/secret", "/static//etc/passwd", "/static/..%5csecret"):
        assert app.test_client().get(path).status_code == 404


@pytest.mark.no_database
def test_the_documentation_may_load_our_own_files_and_nothing_else(app: Flask) -> None:
    policy = app.test_client().get("/docs").headers["Content-Security-Policy"].split("; ")
    assert set(policy) >= DIRECTIVES | {"script-src 'self'", "connect-src 'self'"}
    assert not re.search(r"unsafe|http|\*", " ".join(policy))


@pytest.mark.no_database
def test_https_is_asked_for_again_only_where_cookies_need_it(make_app: Callable[..., Flask]) -> None:
    secure, plain = make_app(SESSION_COOKIE_SECURE="true"), make_app()
    header = secure.test_client().get("/livez", base_url="https://localhost").headers["Strict-Transport-Security"]
    assert int(re.findall(r"max-age=(\d+)", header)[0]) >= 365 * 24 * 3600
    assert "Strict-Transport-Security" not in secure.test_client().get("/livez").headers
    response = plain.test_client().get("/livez", base_url="https://localhost")
    assert "Strict-Transport-Security" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        "//evil.test",
        "//evil.test/..",
        "/\\evil.test",
        "/\t/evil.test",
        "/%09/evil.test",
        "//livez",
        "/livez/",
        "/api/v1//users",
        "/api/v1/users/",
        "/static//x",
        "/docs/",
    ],
)
@pytest.mark.no_database
def test_no_path_is_answered_with_a_redirect(app: Flask, path: str) -> None:
    environ = {"PATH_INFO": path.replace("%09", "\t"), "HTTP_HOST": "localhost"}
    response = app.test_client().get("/", environ_overrides=environ)
    assert response.status_code in {200, 404}
    assert "Location" not in response.headers


@pytest.mark.parametrize("given", ["0123abcd", "a.request~id_of-the.caller", "x" * 128])
@pytest.mark.no_database
def test_a_well_formed_request_id_is_kept(app: Flask, given: str) -> None:
    response = app.test_client().get("/nothing", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == response.get_json()["request_id"] == given


@pytest.mark.parametrize(
    "given",
    ["", "short", "x" * 129, "with space", 'quote"inside', "<script>x</script>", "é" * 8, "abcdefgh\t", "a,b,c,d,e"],
)
@pytest.mark.no_database
def test_any_other_request_id_is_replaced(app: Flask, given: str) -> None:
    response = app.test_client().get("/livez", headers={"X-Request-ID": given})
    assert uuid.UUID(response.headers["X-Request-ID"]).version == 7


@pytest.mark.no_database
def test_a_line_break_cannot_hide_at_the_end_of_a_request_id(app: Flask) -> None:
    response = app.test_client().get("/livez", environ_overrides={"HTTP_X_REQUEST_ID": "abcdefgh\n"})
    assert uuid.UUID(response.headers["X-Request-ID"]).version == 7


@pytest.mark.no_database
def test_two_requests_have_two_ids(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/livez").headers["X-Request-ID"] != client.get("/livez").headers["X-Request-ID"]


@pytest.mark.no_database
def test_the_start_page_leads_to_the_documentation_and_loads_our_own_files_only(app: Flask) -> None:
    client = app.test_client()
    response = client.get("/")
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert_secure(response)
    links = re.findall(r'(?:href|src)="([^"]+)"', response.text)
    assert "/docs" in links
    for link in links:
        with client.get(link) as linked:
            assert linked.status_code == 200, link


@pytest.mark.no_database
def test_another_sites_word_for_https_earns_no_promise_of_https(make_app: Callable[..., Flask]) -> None:
    client = make_app(SESSION_COOKIE_SECURE="true").test_client()
    assert "Strict-Transport-Security" not in client.get("/livez", headers={"X-Forwarded-Proto": "https"}).headers


@pytest.mark.no_database
def test_answers_vary_by_cookie_whether_or_not_anything_looked_at_the_session(app: Flask) -> None:
    # Flask-Login looks at every request's session, and Flask then says so: without it the promise is our own.
    alone = Flask(__name__)
    requests.install(alone, app.extensions["settings"])
    for asked, path in ((app, "/livez"), (app, "/static/favicon.svg"), (app, "/nothing"), (alone, "/nothing")):
        with asked.test_client().get(path) as response:
            assert response.headers.get_all("Vary") == ["Cookie"], path
