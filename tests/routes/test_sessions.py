"""How long a session lives, and what ends it."""

from __future__ import annotations

import datetime
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature

from app.extensions import db
from app.models import Session, User
from app.services import sessions
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import PASSWORD

if TYPE_CHECKING:
    from flask import Flask

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.factories import Browser, Factory

ME = "/api/v1/users/me"
LOGIN = "/api/v1/auth/login"
OTHER_PASSWORD = "velvet anchor mosaic thunder"
HOUR = 3600
DAY = 24 * HOUR


def read_cookie(browser: Browser, app: Flask) -> dict[str, Any]:
    """Return what the session cookie carries."""
    cookie = browser.client.get_cookie("session")
    assert cookie is not None
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return dict(serializer.loads(cookie.value))


def copy_cookie(browser: Browser) -> Browser:
    """Return the browser of a thief who copied the session cookie."""
    thief = type(browser)(browser.app)
    cookie = browser.client.get_cookie("session")
    assert cookie is not None
    thief.client.set_cookie("session", cookie.value)
    return thief


def test_only_the_hash_of_the_token_is_stored(app: Flask, user_browser: Browser) -> None:
    token = read_cookie(user_browser, app)["_user_id"]
    with app.app_context(), db.engine.connect() as connection:
        rows = connection.execute(sa.select(Session.__table__)).mappings().all()
    assert [row["token_hash"] for row in rows] == [hashlib.sha256(token.encode()).hexdigest()]
    assert token not in repr(rows)
    assert len(token) >= 43  # 256 bits


def test_the_hash_from_a_stolen_database_signs_nobody_in_even_with_the_key(app: Flask, user_browser: Browser) -> None:
    content = read_cookie(user_browser, app)
    stored = hashlib.sha256(content["_user_id"].encode()).hexdigest()
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    for guess in (stored, "", "1", "None"):
        user_browser.client.set_cookie("session", str(serializer.dumps(content | {"_user_id": guess})))
        assert user_browser.get(ME).status_code == 401


def test_a_session_ends_when_it_was_idle_too_long(clock: Clock, user_browser: Browser) -> None:
    clock.advance(2 * HOUR - 1)
    assert user_browser.get(ME).status_code == 200
    clock.advance(2 * HOUR - 1)
    assert user_browser.get(ME).status_code == 200
    clock.advance(2 * HOUR)
    assert user_browser.get(ME).status_code == 401


def test_a_session_ends_at_its_lifetime_however_busy_it_is(clock: Clock, user_browser: Browser) -> None:
    for _ in range(11):
        clock.advance(HOUR)
        assert user_browser.get(ME).status_code == 200
    clock.advance(HOUR - 1)
    assert user_browser.get(ME).status_code == 200
    clock.advance(1)
    assert user_browser.get(ME).status_code == 401


def test_a_remembered_session_outlasts_idle_days_and_ends_at_its_own_lifetime(
    clock: Clock, factory: Factory, user: Any
) -> None:
    browser = factory.sign_in(user, remember=True)
    clock.advance(29 * DAY)
    assert browser.get(ME).status_code == 200
    clock.advance(DAY)
    assert browser.get(ME).status_code == 401


@pytest.mark.parametrize("remember", [False, True])
def test_only_a_remembered_cookie_outlives_the_browser(factory: Factory, user: Any, *, remember: bool) -> None:
    cookie = factory.sign_in(user, remember=remember).client.get_cookie("session")
    assert cookie is not None
    assert (cookie.expires is not None) == remember
    if cookie.expires is not None:
        left = cookie.expires - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(days=29) < left <= datetime.timedelta(days=30)


def test_flask_logins_own_remember_cookie_is_neither_set_nor_enough(factory: Factory, user: Any, app: Flask) -> None:
    browser = factory.sign_in(user, remember=True)
    assert browser.client.get_cookie("remember_token") is None
    assert browser.cookies.keys() == {"session", "device"}
    assert read_cookie(browser, app).keys() == {"_user_id", "_permanent", "csrf_token"}


def test_signing_in_starts_a_new_session_and_leaves_nothing_of_a_planted_cookie(
    app: Flask, browser: Browser, user: Any
) -> None:
    browser.csrf_token()
    planted = read_cookie(browser, app)
    assert browser.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 200
    assert read_cookie(browser, app)["csrf_token"] != planted["csrf_token"]


def test_signing_in_again_ends_the_session_that_the_browser_had(user_browser: Browser, user: Any) -> None:
    thief = copy_cookie(user_browser)
    assert thief.get(ME).status_code == 200
    assert user_browser.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 200
    assert thief.get(ME).status_code == 401
    assert user_browser.get(ME).status_code == 200


def test_registering_ends_the_session_that_the_browser_had(user_browser: Browser) -> None:
    thief = copy_cookie(user_browser)
    body = {"email": "second@example.com", "password": PASSWORD}
    assert user_browser.post("/api/v1/auth/register", body).status_code == 201
    assert thief.get(ME).status_code == 401


def test_a_refused_sign_in_leaves_the_session_alone(user_browser: Browser, user: Any) -> None:
    assert user_browser.post(LOGIN, {"email": user.email, "password": "wrong"}).status_code == 401
    assert user_browser.get(ME).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/auth/reauthenticate", {"password": PASSWORD}),
        ("/api/v1/auth/password/change", {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}),
    ],
)
def test_giving_the_password_again_makes_copies_of_the_cookie_worthless(
    user_browser: Browser, path: str, body: dict[str, str]
) -> None:
    token = user_browser.csrf_token()
    thief = copy_cookie(user_browser)
    assert user_browser.post(path, body).status_code == 204
    assert thief.get(ME).status_code == 401
    # The owner goes on, with the same CSRF token.
    response = user_browser.client.patch(ME, json={"name": "x"}, headers={"X-CSRF-Token": token})
    assert response.status_code == 200


def test_changing_the_password_ends_every_other_session(factory: Factory, user: Any) -> None:
    here, there, remembered = factory.sign_in(user), factory.sign_in(user), factory.sign_in(user, remember=True)
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    assert here.post("/api/v1/auth/password/change", body).status_code == 204
    assert [browser.get(ME).status_code for browser in (here, there, remembered)] == [200, 401, 401]
    assert factory.sign_in(user, password=OTHER_PASSWORD).get(ME).status_code == 200
    assert there.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 401


def test_a_password_is_not_changed_without_the_current_one_or_to_a_weak_one(user_browser: Browser, user: Any) -> None:
    path = "/api/v1/auth/password/change"
    wrong = user_browser.post(path, {"current_password": "wrong", "new_password": OTHER_PASSWORD})
    assert (wrong.status_code, wrong.get_json()["code"]) == (401, "invalid_credentials")
    weak = user_browser.post(path, {"current_password": PASSWORD, "new_password": user.email * 3})
    assert (weak.status_code, weak.get_json()["code"]) == (422, "weak_password")
    assert list(weak.get_json()["errors"]) == ["new_password"]
    assert user_browser.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("remember", [False, True])
def test_a_session_is_fresh_for_ten_minutes_and_again_after_the_password(
    clock: Clock,
    factory: Factory,
    user: Any,
    *,
    remember: bool,
) -> None:
    browser = factory.sign_in(user, remember=remember)
    clock.advance(600)
    stale = browser.delete(ME)
    assert (stale.status_code, stale.get_json()["code"]) == (403, "reauthentication_required")
    assert browser.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}).status_code == 204
    clock.advance(599)
    assert browser.delete(ME).status_code == 204


def test_an_administrator_s_way_to_their_own_account_wants_a_fresh_session_too(clock: Clock, factory: Factory) -> None:
    admin, other = factory.admin(), factory.admin()
    browser = factory.sign_in(admin)
    clock.advance(600)
    stale = browser.delete(f"/api/v1/users/{admin.id}")
    assert (stale.status_code, stale.get_json()["code"]) == (403, "reauthentication_required")
    assert browser.delete(f"/api/v1/users/{other.id}").status_code == 204


def test_somebody_elses_password_does_not_make_a_session_fresh(clock: Clock, factory: Factory, user: Any) -> None:
    factory.user(password=OTHER_PASSWORD)
    browser = factory.sign_in(user)
    clock.advance(601)
    refused = browser.post("/api/v1/auth/reauthenticate", {"password": OTHER_PASSWORD})
    assert (refused.status_code, refused.get_json()["code"]) == (401, "invalid_credentials")
    assert browser.delete(ME).get_json()["code"] == "reauthentication_required"


def test_reauthentication_takes_no_address(user_browser: Browser, factory: Factory) -> None:
    body = {"email": factory.user().email, "password": PASSWORD}
    assert user_browser.post("/api/v1/auth/reauthenticate", body).status_code == 422


def test_that_a_session_was_seen_is_written_once_a_minute_at_most(
    clock: Clock, user_browser: Browser, statements: list[str]
) -> None:
    clock.advance(30)
    user_browser.get(ME)
    assert not any(statement.startswith("UPDATE") for statement in statements)
    clock.advance(31)
    statements.clear()
    user_browser.get(ME)
    user_browser.get(ME)
    assert sum(statement.startswith("UPDATE sessions") for statement in statements) == 1


def test_a_signed_in_request_costs_one_query(user_browser: Browser, statements: list[str]) -> None:
    user_browser.get(ME)
    statements.clear()
    user_browser.get(ME)
    assert len(statements) == 1


def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(user_browser: Browser) -> None:
    thief = copy_cookie(user_browser)
    assert user_browser.post("/api/v1/auth/logout").status_code == 204
    assert user_browser.client.get_cookie("session") is None
    assert thief.get(ME).status_code == 401
    assert thief.post("/api/v1/auth/logout").status_code == 401


def test_a_session_of_an_inactive_user_is_worth_nothing_even_if_its_row_is_still_there(
    app: Flask, user: Any, user_browser: Browser
) -> None:
    with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection, connection.begin():
        connection.execute(sa.update(User).where(User.id == user.id).values(is_active=False))
    assert user_browser.get(ME).status_code == 401


def test_sessions_that_ran_out_go_with_the_next_sign_in(app: Flask, clock: Clock, factory: Factory, user: Any) -> None:
    factory.sign_in(user)
    clock.advance(13 * HOUR)
    factory.sign_in(user)
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Session)) == 1


def test_a_sign_in_ends_none_of_the_sessions_that_are_alive_and_none_of_another_user(
    app: Flask, clock: Clock, factory: Factory, user: Any
) -> None:
    other = factory.user()
    factory.sign_in(other)
    factory.sign_in(user)
    remembered = factory.sign_in(user, remember=True)
    clock.advance(13 * HOUR)
    factory.sign_in(user)
    assert remembered.get(ME).status_code == 200
    with app.app_context():
        query = sa.select(sa.func.count()).select_from(Session).where(Session.user_id == other.id)
        assert db.session.scalar(query) == 1


def test_a_session_that_was_idle_too_long_is_listed_no_more(clock: Clock, factory: Factory, user: Any) -> None:
    factory.sign_in(user)
    factory.sign_in(user, remember=True)
    clock.advance(3 * HOUR)
    listed = factory.sign_in(user).get(f"{ME}/sessions").get_json()["items"]
    assert [entry["current"] for entry in listed] == [True, False]


def test_of_requests_that_find_a_session_unseen_at_once_only_the_first_writes(
    app: Flask, clock: Clock, user_browser: Browser
) -> None:
    clock.advance(61)
    user_browser.get(ME)
    with app.app_context():
        seen = db.session.execute(sa.select(Session.id, Session.last_seen_at)).one()
        clock.advance(30)
        sessions._touch(seen.id)
        assert db.session.scalar(sa.select(Session.last_seen_at)) == seen.last_seen_at


def test_a_session_is_noted_as_seen_by_one_request_at_a_time_until_half_of_its_idle_time_is_over(
    app: Flask, clock: Clock, user_browser: Browser
) -> None:
    def read_seen() -> Any:
        with app.app_context():
            return db.session.scalar(sa.select(Session.last_seen_at))

    def ask_while_another_is_noted() -> None:
        # Another thread of this process is at it, and the disk hesitates.
        with app.app_context():
            db.do_if_idle(lambda: user_browser.get(ME))

    begun = read_seen()
    clock.advance(HOUR)
    ask_while_another_is_noted()
    assert read_seen() == begun
    clock.advance(1)
    ask_while_another_is_noted()
    assert read_seen() == clock.now()
    clock.advance(61)
    assert user_browser.get(ME).status_code == 200
    assert read_seen() == clock.now()


@pytest.mark.parametrize(("behind_seconds", "is_known"), [(1, True), (60, True), (61, False)])
def test_a_host_whose_clock_is_behind_by_up_to_a_minute_knows_what_another_one_signed(
    clock: Clock, user_browser: Browser, *, behind_seconds: int, is_known: bool
) -> None:
    token = user_browser.csrf_token()
    clock.advance(-behind_seconds)
    assert user_browser.get(ME).status_code == (200 if is_known else 401)
    answer = user_browser.client.patch(ME, json={"name": "Ada"}, headers={"X-CSRF-Token": token})
    assert answer.status_code == (200 if is_known else 403)


@pytest.mark.no_database
def test_a_key_that_is_changed_while_the_server_runs_signs_from_then_on(app: Flask) -> None:
    client = app.test_client()
    client.get("/api/v1/auth/csrf")
    former = client.get_cookie("session")
    assert former is not None
    cookies = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined] # SessionCookies has it
    assert cookies is app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined] # likewise
    app.config["SECRET_KEY"] = "another key, of thirty-two characters"
    changed = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined] # likewise
    with pytest.raises(BadSignature):
        changed.loads(former.value)
    app.config["SECRET_KEY_FALLBACKS"] = [TEST_ENVIRON["SECRET_KEY"]]
    both = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined] # likewise
    assert both.loads(former.value)
    assert changed.loads(both.dumps("signed")) == "signed"  # not by the former key
