"""Wrong passwords in a row: a hundred are answered, and the owner is never kept out by those of strangers."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from app.extensions import db, limiter, transaction
from app.models import AuditEntry, GuessCount, Session
from app.security import Actor, HashingBusy
from app.services import guesses, users
from gatehouse.testing.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
WRONG = "not the password at all"
MAX = 10


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """Without the limiter, whose windows are only the first defence."""
    return make_app(GUESSES_MAX=str(MAX))


def guess(browser: Browser, email: str, password: str = WRONG) -> Any:
    return browser.post(LOGIN, {"email": email, "password": password})


def exhaust(app: Flask, email: str) -> None:
    """Guess wrong, as a stranger, as often as is answered."""
    stranger = Browser(app)
    assert [guess(stranger, email).status_code for _ in range(MAX)] == [401] * MAX


def count_rows(app: Flask, model: Any, *conditions: Any) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(model).where(*conditions)) or 0


def run_at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """Run each work in a thread of its own, all at once; return the results."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = []

    def run(work: Callable[[], Any]) -> None:
        barrier.wait(20)
        results.append(work())

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def prepare_post(browser: Browser, path: str, body: dict[str, str]) -> Callable[[], Any]:
    """Return a call that is ready to be sent."""
    headers = {"X-CSRF-Token": browser.csrf_token()}
    return lambda: browser.client.post(path, json=body, headers=headers, base_url=browser.base_url)


def test_nothing_is_answered_after_too_many_wrong_guesses_whether_or_not_there_is_an_account(
    app: Flask, user: Any, statements: list[str]
) -> None:
    answers = []
    for email in (user.email, "nobody@example.com"):
        exhaust(app, email)
        for password in (WRONG, PASSWORD):
            browser = Browser(app)
            headers = {"X-CSRF-Token": browser.csrf_token()}
            statements.clear()
            answer = browser.client.post(LOGIN, json={"email": email, "password": password}, headers=headers)
            problem = answer.get_json()
            del problem["request_id"]
            answers.append((answer.status_code, problem, list(statements)))
    assert answers[0][0] == 429
    assert answers[0][1]["code"] == "too_many_guesses"
    assert "ask an administrator" in answers[0][1]["detail"]
    assert answers[1:] == answers[:1] * 3


@pytest.mark.parametrize("is_known", [True, False])
def test_of_many_guesses_at_once_no_more_are_answered_than_may_be(app: Flask, user: Any, *, is_known: bool) -> None:
    email = user.email if is_known else "nobody@example.com"
    calls = [prepare_post(Browser(app), LOGIN, {"email": email, "password": WRONG}) for _ in range(3 * MAX)]
    statuses = Counter(answer.status_code for answer in run_at_once(calls))
    # A busy hasher checks nothing, and nothing is counted.
    assert statuses[401] + statuses[429] + statuses[503] == 3 * MAX
    stranger = Browser(app)
    later = [guess(stranger, email).status_code for _ in range(MAX + 1 - statuses[401])]
    assert later == [401] * (MAX - statuses[401]) + [429]
    assert count_rows(app, AuditEntry, AuditEntry.action == "session.refused") == MAX


class Pause:
    """Holds the right password up once it was found to be right."""

    def __init__(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened = threading.Event()
        self.open = self._opened.set
        self.is_reached = threading.Event()
        verify = app.extensions["password_hasher"].verify

        def wait(password_hash: str | None, password: str) -> bool:
            is_right = bool(verify(password_hash, password))
            if is_right:
                self.is_reached.set()
                assert self._opened.wait(20)
            return is_right

        monkeypatch.setattr(app.extensions["password_hasher"], "verify", wait)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (LOGIN, {"password": PASSWORD}),
        ("/api/v1/auth/reauthenticate", {"password": PASSWORD}),
        ("/api/v1/auth/password/change", {"current_password": PASSWORD, "new_password": f"{PASSWORD} heron"}),
    ],
)
def test_a_right_guess_that_is_checked_beside_too_many_wrong_ones_is_not_answered_either(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, str]
) -> None:
    user = factory.user()
    thief = factory.sign_in(user)
    # A stolen session's cookie comes without the device's.
    thief.client.delete_cookie("device")
    sessions_count = count_rows(app, Session)
    pause = Pause(app, monkeypatch)
    answers: list[Any] = []
    call = prepare_post(thief, path, body | ({"email": user.email} if path == LOGIN else {}))
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    assert pause.is_reached.wait(20)
    exhaust(app, user.email)
    pause.open()
    thread.join(20)
    assert (answers[0].status_code, answers[0].get_json()["code"]) == (429, "too_many_guesses")
    assert count_rows(app, Session) == sessions_count


def test_every_way_to_try_a_password_counts_and_stops_alike(app: Flask, factory: Factory) -> None:
    user = factory.user()
    thief = factory.sign_in(user)
    thief.client.delete_cookie("device")
    change = {"current_password": WRONG, "new_password": f"{PASSWORD} heron"}
    for _ in range(MAX // 2):
        assert thief.post("/api/v1/auth/reauthenticate", {"password": WRONG}).status_code == 401
        assert thief.post("/api/v1/auth/password/change", change).status_code == 401
    answers = [
        thief.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}),
        thief.post("/api/v1/auth/password/change", change | {"current_password": PASSWORD}),
        guess(Browser(app), user.email, PASSWORD),
    ]
    assert [answer.get_json()["code"] for answer in answers] == ["too_many_guesses"] * 3


def test_strangers_stop_neither_the_owners_session_nor_the_owners_browser(app: Flask, factory: Factory) -> None:
    user = factory.user()
    owner = factory.sign_in(user)
    exhaust(app, user.email)
    assert owner.get(ME).status_code == 200
    assert owner.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}).status_code == 204
    owner.post("/api/v1/auth/logout")
    assert guess(owner, user.email, PASSWORD).status_code == 200
    # That the owner signed in is no way for strangers to go on.
    assert guess(Browser(app), user.email).status_code == 429
    # A known browser's own guesses are counted all the same.
    assert [guess(owner, user.email).status_code for _ in range(MAX + 1)] == [401] * MAX + [429]


def test_a_right_password_ends_the_row(app: Flask, user: Any) -> None:
    for _ in range(3):
        assert [guess(Browser(app), user.email).status_code for _ in range(MAX - 1)] == [401] * (MAX - 1)
        assert guess(Browser(app), user.email, PASSWORD).status_code == 200
        assert count_rows(app, GuessCount) == 0


def test_the_count_outlives_the_process(app: Flask, make_app: Callable[..., Flask], user: Any) -> None:
    exhaust(app, user.email)
    assert guess(Browser(make_app(GUESSES_MAX=str(MAX))), user.email, PASSWORD).status_code == 429


def test_what_checks_no_password_counts_nothing(app: Flask, user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Browser(app)
    forged = {"X-CSRF-Token": "forged"}
    hasher = app.extensions["password_hasher"]
    for _ in range(MAX + 1):
        assert stranger.post(LOGIN, {"email": user.email, "password": 5}).status_code == 422
        assert stranger.client.options(LOGIN, json={"email": user.email}).status_code == 200
        assert stranger.post(LOGIN, {"email": user.email, "password": WRONG}, headers=forged).status_code == 403
        with monkeypatch.context() as patch:
            patch.setattr(hasher, "verify", Mock(side_effect=HashingBusy))
            assert guess(stranger, user.email).status_code == 503
    assert count_rows(app, GuessCount) == 0


def test_no_address_can_be_read_in_the_counts(app: Flask, user: Any) -> None:
    guess(Browser(app), user.email)
    with app.app_context():
        (row,) = db.session.scalars(sa.select(GuessCount)).all()
    assert len(row.account_hash) == 64
    assert user.email not in row.account_hash


def exhaust_everywhere(app: Flask, factory: Factory, user: Any) -> Browser:
    """Guess until neither a stranger nor a browser that knows the account is answered; return that browser."""
    known = factory.sign_in(user)
    for _ in range(MAX):
        guess(known, user.email)
    exhaust(app, user.email)
    for browser in (known, Browser(app)):
        assert guess(browser, user.email, PASSWORD).status_code == 429
    return known


def test_unlocking_opens_the_account_again_everywhere(app: Flask, factory: Factory, admin_browser: Browser) -> None:
    user = factory.user()
    known = exhaust_everywhere(app, factory, user)
    assert admin_browser.post(f"/api/v1/users/{user.id}/unlock").status_code == 204
    for browser in (known, Browser(app)):
        assert guess(browser, user.email, PASSWORD).status_code == 200


def test_whoever_resets_the_password_begins_anew(app: Flask, factory: Factory) -> None:
    user = factory.user()
    known = exhaust_everywhere(app, factory, user)
    with app.app_context(), transaction():
        guesses.forget(user.email)
    for browser in (known, Browser(app)):
        assert guess(browser, user.email, PASSWORD).status_code == 200


def test_a_deleted_user_leaves_no_count(app: Flask, factory: Factory) -> None:
    user = factory.user()
    exhaust_everywhere(app, factory, user)
    with app.app_context():
        users.delete_user(user.id, actor=Actor.system())
    assert count_rows(app, GuessCount) == 0


# --- an attack, with the limits as they are set by default ---


class Town:
    """Browsers at addresses of their own, and a limiter whose clock is turned."""

    def __init__(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = app
        self.seconds = 1.0
        with app.app_context():
            assert limiter.engine is not None
            monkeypatch.setattr(limiter.engine._memory, "_clock_ns", lambda: int(self.seconds * 10**9))

    def guess(self, ip: str, email: str, password: str = WRONG, browser: Browser | None = None) -> int:
        """Sign in from ``ip``, in a new browser unless one is given; return the answer's status."""
        browser = browser or Browser(self.app)
        headers = {"X-CSRF-Token": browser.csrf_token(), "X-Forwarded-For": ip}
        body = {"email": email, "password": password}
        return browser.client.post(LOGIN, json=body, headers=headers, base_url=browser.base_url).status_code


@pytest.fixture
def town(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> Town:
    return Town(make_app(RATELIMIT_ENABLED="true", TRUSTED_PROXIES="1", RATELIMIT_DEFAULT="100000/minute"), monkeypatch)


def test_an_attack_from_fifty_addresses_keeps_the_owner_out_of_nothing_known_and_for_minutes_of_what_is_new(
    town: Town,
) -> None:
    factory = Factory(town.app)
    user = factory.user()
    owner = factory.sign_in(user)
    statuses: Counter[int] = Counter()
    for number in range(120):  # ten minutes
        for ip in (number, number + 17):
            statuses[town.guess(f"203.0.113.{ip % 50}", user.email)] += 1
        if number % 20 == 0:
            assert owner.get(ME).status_code == 200
            assert owner.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}).status_code == 204
            assert town.guess("198.51.100.1", user.email, PASSWORD, owner) == 200
        town.seconds += 5
    # 20 in any 15 minutes, by RATELIMIT_LOGIN.
    assert statuses == {401: 20, 429: 220}
    assert town.guess("198.51.100.1", user.email, PASSWORD) == 429
    town.seconds += 15 * 60
    assert town.guess("198.51.100.1", user.email, PASSWORD) == 200


def test_an_attack_that_goes_on_for_hours_is_answered_a_hundred_times(town: Town) -> None:
    user = Factory(town.app).user()
    statuses: Counter[int] = Counter()
    for number in range(3 * 60):
        for ip in range(3):
            statuses[town.guess(f"203.0.113.{(number + ip) % 50}", user.email)] += 1
        town.seconds += 60
    assert statuses[401] == 100
    town.seconds += 24 * 3600
    assert town.guess("198.51.100.1", user.email, PASSWORD) == 429


def test_what_a_stranger_sends_that_is_no_wrong_guess_changes_nothing(town: Town) -> None:
    user = Factory(town.app).user()
    stranger = Browser(town.app)
    for _ in range(10):
        assert stranger.post(LOGIN, {"email": user.email, "password": 5}).status_code == 422
        assert stranger.client.options(LOGIN, json={"email": user.email}).status_code == 200
    body = {"email": user.email, "password": PASSWORD}
    answers = run_at_once([prepare_post(Browser(town.app), LOGIN, body) for _ in range(20)])
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert [town.guess("198.51.100.1", user.email) for _ in range(6)] == [401] * 5 + [429]
    with town.app.app_context():
        assert db.session.scalars(sa.select(GuessCount.failures)).all() == [5]
