"""The log: one line a record, and nothing secret in it."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from app.extensions import db
from app.security import public
from app.services import accounts
from app.utils import configure_logging
from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from gatehouse.testing.factories import Factory

ATTACKS = ["\r\nINFO forged", "\x1b[2J\x1b[31mred", "\u2028line", "\x85next", "\u202etxt", "\x00nul"]


class Log:
    """What was written since the test began."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.removesuffix("\n").split("\n")


@pytest.fixture(params=["text", "json"])
def log(request: pytest.FixtureRequest, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """The log at DEBUG, in each of its forms."""
    del app  # it configures logging itself
    made = Log()
    monkeypatch.setattr("sys.stderr", made.stream)
    configure_logging(level="DEBUG", is_json=request.param == "json")
    yield made
    monkeypatch.undo()
    configure_logging(level="INFO", is_json=False)


def test_a_request_is_one_line_that_says_who_what_and_how_long(log: Log, user_browser: Browser, user: Any) -> None:
    log.stream.truncate(0)
    response = user_browser.get("/api/v1/users/me/sessions?secret=in-the-query")
    [line] = log.lines
    for part in (response.headers["X-Request-ID"], str(user.id), "/api/v1/users/me/sessions", "200", "duration_ms"):
        assert part in line
    assert "in-the-query" not in log.text


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.no_database
def test_whatever_a_caller_sends_stays_inside_one_line(log: Log, app: Flask, attack: str) -> None:
    client = app.test_client()
    client.get("/livez")
    one = len(log.text.splitlines())
    latin = attack.encode().decode("latin-1")
    environ = {"HTTP_USER_AGENT": latin, "HTTP_X_REQUEST_ID": latin, "PATH_INFO": f"/{latin}", "REMOTE_ADDR": attack}
    client.get("/", environ_overrides=environ)
    client.post("/api/v1/auth/login", json={"email": f"{attack}@example.com", "password": "x"})
    lines = log.text.splitlines()  # which splits at every kind of line break
    assert len(lines) == one + 2
    assert all(char.isprintable() for line in lines for char in line)


def test_nothing_secret_is_logged_at_debug(log: Log, app: Flask, factory: Factory, environ: dict[str, str]) -> None:
    user = factory.user(email="private@example.com", name="Private Name")
    browser = factory.sign_in(user, remember=True)
    other = "velvet anchor mosaic thunder"
    browser.post("/api/v1/auth/login", {"email": user.email, "password": "a wrong password"})
    browser.post("/api/v1/auth/register", {"email": user.email, "password": PASSWORD})
    browser.post("/api/v1/auth/password/change", {"current_password": PASSWORD, "new_password": other})
    token = "a-token-that-was-mailed-to-somebody"
    for path in ("password/reset", "email/verify", "not-me"):
        body = {"token": token} | ({"new_password": other} if path == "password/reset" else {})
        browser.post(f"/api/v1/auth/{path}", body)
    browser.client.patch("/api/v1/users/me", data=b'{"password": "in a broken body', content_type="application/json")
    with app.app_context():
        stored = accounts.get_user(user.id).password_hash
    assert stored is not None
    secrets = [
        PASSWORD,
        other,
        "a wrong password",
        "in a broken body",
        token,
        browser.csrf_token(),
        stored,
        *browser.cookies.values(),
    ]
    secrets += [environ["SECRET_KEY"], environ["DATABASE_URL"], "private@example.com", "Private Name"]
    assert [secret for secret in secrets if secret in log.text] == []
    assert "/api/v1/auth/login" in log.text


def test_a_database_error_is_logged_without_statement_parameters_and_url(log: Log, app: Flask, environ: Any) -> None:
    def fail_in_the_driver() -> str:
        with db.engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM missing WHERE secret_column = ?", ("a-secret-value",))
        return ""

    def fail_with_a_url() -> str:
        cause = RuntimeError(f"cannot connect to {environ['DATABASE_URL']}?password=a-secret-value")
        raise OperationalError("INSERT a-secret-value", {"p": "a-secret-value"}, cause) from cause

    app.add_url_rule("/fail/driver", view_func=public(fail_in_the_driver))
    app.add_url_rule("/fail/url", view_func=public(fail_with_a_url))
    for path in ("/fail/driver", "/fail/url"):
        response = app.test_client().get(path)
        assert response.status_code in {500, 503}
        assert "a-secret-value" not in response.text
    assert "OperationalError" in log.text
    assert "fail_in_the_driver" in log.text
    for secret in ("a-secret-value", "secret_column", environ["DATABASE_URL"]):
        assert secret not in log.text


@pytest.mark.no_database
@pytest.mark.parametrize("is_told", [True, False])
def test_a_developer_s_own_error_is_told_with_its_text_where_that_is_asked_for(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, *, is_told: bool
) -> None:
    app = make_app(LOG_ERROR_TEXTS=str(is_told).lower())

    def fail() -> str:
        raise ValueError("three invoices are missing")

    def fail_over_a_driver() -> str:
        cause = OperationalError("INSERT a-secret-value", {}, Exception("a-secret-value"))
        raise RuntimeError(str(cause)) from cause

    for view in (fail, fail_over_a_driver):
        app.add_url_rule(f"/{view.__name__}", view_func=public(view))
    for view in (fail, fail_over_a_driver):
        assert app.test_client().get(f"/{view.__name__}").status_code == 500
    own, driver = (record for record in caplog.records if record.levelname == "ERROR")
    assert own.getMessage() == "unexpected ValueError"
    assert getattr(own, "error", None) == ("three invoices are missing" if is_told else None)
    assert "test_logs.py" in str(getattr(own, "stack", None))
    assert "a-secret-value" not in str(vars(driver))


@pytest.mark.no_database
def test_a_logged_exception_shows_where_and_not_what(log: Log) -> None:
    def fail() -> None:
        raise IntegrityError("INSERT a-secret-value", {}, ValueError("a-secret-value"))

    try:
        fail()
    except IntegrityError:
        logging.getLogger("app.anything").exception("it failed")
    assert "IntegrityError" in log.text
    assert "test_logs.py" in log.text
    assert "a-secret-value" not in log.text
    assert len(log.lines) == 1


@pytest.mark.no_database
def test_what_libraries_note_below_a_warning_is_not_logged(log: Log) -> None:
    for name in ("sqlalchemy.engine.Engine", "werkzeug", "urllib3", "some.new.library", "flask_cors.core"):
        logging.getLogger(name).info("a-secret-value")
        logging.getLogger(name).debug("a-secret-value")
        logging.getLogger(name).warning("a warning")
    assert "a-secret-value" not in log.text
    assert len(log.lines) == 5


@pytest.mark.no_database
def test_a_record_that_cannot_be_formatted_shows_nothing_of_its_values(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", log.stream)  # where the standard library would report it
    [handler] = [one for one in logging.getLogger().handlers if getattr(one, "stream", None) is log.stream]
    handler.handle(logging.LogRecord("app.anything", logging.WARNING, "", 0, "%d", ("a-secret-value",), None))
    assert log.text == ""
    handler.handle(logging.LogRecord("app.anything", logging.WARNING, "", 0, "%d", (1,), None))
    assert len(log.lines) == 1


@pytest.mark.no_database
def test_a_caller_s_own_fields_are_told_whatever_their_names_and_kinds(log: Log) -> None:
    fields = {"level": 5, "logger": "\x1b[2J", "time": None, "thing": object(), "stack_info_": ["\u2028"]}
    logging.getLogger("app.anything").error("it failed", extra=fields)
    logging.getLogger("app.anything").error({"as": "a mapping\n"})
    logging.getLogger("app.anything").log(logging.ERROR, "nothing was raised", exc_info=(None, None, None))
    assert len(log.text.splitlines()) == len(log.lines) == 3
    assert all(line.isprintable() for line in log.lines)


@pytest.mark.no_database
def test_errors_that_caused_each_other_in_a_circle_are_described_once(log: Log) -> None:
    first, second = ValueError("a"), TypeError("b")
    first.__cause__, second.__cause__ = second, first
    logging.getLogger("app.anything").error("it failed", exc_info=first)
    assert log.text.count("ValueError") == log.text.count("TypeError") == 1


@pytest.mark.no_database
def test_json_lines_are_json_with_the_same_names(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(level="INFO", is_json=True)
    app.test_client().get("/nothing", headers={"User-Agent": "curl/8"})
    monkeypatch.undo()
    configure_logging(level="INFO", is_json=False)
    line = json.loads(stream.getvalue())
    assert line.keys() >= {"time", "level", "logger", "message", "request_id", "route", "status", "duration_ms", "ip"}
    assert (line["status"], line["route"], line["message"], line["user_agent"]) == (404, None, "GET /nothing", "curl/8")


@pytest.mark.no_database
def test_the_level_is_ours_alone(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(level="ERROR", is_json=False)
    app.test_client().get("/livez")
    logging.getLogger("library").warning("x")
    monkeypatch.undo()
    configure_logging(level="INFO", is_json=False)
    assert stream.getvalue() == ""
