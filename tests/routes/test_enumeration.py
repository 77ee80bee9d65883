"""Nobody finds out who has an account: counted in work done, not by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nacl.bindings
import pytest

from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.queries import count_queries

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LOGIN = "/api/v1/auth/login"


class Work:
    """Counts what costs time: hashes computed and statements sent, by their first words."""

    def __init__(self, statements: list[str]) -> None:
        self.statements = statements
        self.hashes = 0

    def take(self) -> tuple[int, list[str]]:
        """Return what was done since the last time."""
        done = self.hashes, [" ".join(statement.split()[:3]) for statement in self.statements]
        self.hashes = 0
        self.statements.clear()
        return done


@pytest.fixture
def work(app: Flask, statements: list[str], monkeypatch: pytest.MonkeyPatch) -> Work:
    """What ``app`` does."""
    work = Work(statements)

    def count(name: str) -> None:
        hash_or_verify = getattr(nacl.bindings, name)

        def counted(*args: Any) -> Any:
            work.hashes += 1
            return hash_or_verify(*args)

        monkeypatch.setattr(nacl.bindings, name, counted)

    count("crypto_pwhash_str_alg")
    count("crypto_pwhash_str_verify")
    del app
    return work


def test_an_unknown_address_costs_what_a_wrong_password_costs(
    app: Flask, factory: Any, user: Any, admin_browser: Browser, work: Work
) -> None:
    inactive, without_password = factory.user(), factory.user(password=None)
    admin_browser.patch(f"/api/v1/users/{inactive.id}", {"is_active": False})
    browser = Browser(app)
    headers = {"X-CSRF-Token": browser.csrf_token()}
    costs = []
    tries = [
        (user.email, "a wrong password"),
        ("nobody@example.com", "a wrong password"),
        ("somebody@example.com", PASSWORD),
        (inactive.email, "a wrong password"),
        (without_password.email, PASSWORD),
    ]
    # The first begins to count, each further one goes on.
    for attempt in range(3):
        for email, password in tries:
            work.take()
            response = browser.client.post(LOGIN, json={"email": email, "password": password}, headers=headers)
            assert response.status_code == 401
            costs.append((attempt > 0, *work.take()))
    assert costs[0][1] == 1
    for is_further in (False, True):
        assert len({(hashes, *statements) for further, hashes, statements in costs if further is is_further}) == 1
    assert len({len(statements) for _, _, statements in costs}) == 1


def test_a_taken_address_is_refused_after_the_same_hashing(app: Flask, user: Any, work: Work) -> None:
    counts = []
    for email, status in ((user.email, 409), ("new@example.com", 201)):
        browser = Browser(app)
        browser.csrf_token()
        work.take()
        assert browser.post("/api/v1/auth/register", {"email": email, "password": PASSWORD}).status_code == status
        counts.append(work.take()[0])
    assert counts == [1, 1]


def test_a_weak_password_is_refused_alike_whether_or_not_the_address_is_taken(
    app: Flask, user: Any, work: Work
) -> None:
    answers = []
    for email in (user.email, "new@example.com"):
        browser = Browser(app)
        headers = {"X-CSRF-Token": browser.csrf_token()}
        work.take()
        body = {"email": email, "password": "passwordpassword"}
        response = browser.client.post("/api/v1/auth/register", json=body, headers=headers)
        problem = response.get_json()
        del problem["request_id"]
        answers.append((response.status_code, problem, work.take()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/auth/register", {"password": "saddle copper lagoon whistle", "name": "New"}),
        ("/api/v1/auth/password/forgot", {}),
        ("/api/v1/auth/email/verify/resend", {}),
        ("/api/v1/auth/mail-sign-in", {}),
    ],
    ids=lambda value: value.rpartition("auth/")[2] if isinstance(value, str) else "",
)
def test_what_is_answered_by_mail_looks_nobody_up(
    make_app: Callable[..., Flask], path: str, body: dict[str, str]
) -> None:
    app = make_app(EMAIL_VERIFICATION="required", SIGN_IN_METHODS="password,mail_link,mail_code")
    user = Factory(app).user()
    answers = []
    with count_queries(app.extensions["database"].kw["bind"]) as statements:
        for email in (user.email, "nobody@example.com", user.email, "nobody@example.com"):
            browser = Browser(app)
            headers = {"X-CSRF-Token": browser.csrf_token()}
            statements.clear()
            response = browser.client.post(path, json={"email": email} | body, headers=headers)
            cookies = sorted(value.partition("=")[0] for value in response.headers.getlist("Set-Cookie"))
            sent = [" ".join(statement.split()[:3]) for statement in statements]
            answers.append((response.status_code, response.get_json(), cookies, sent))
    assert answers[0][0] == 202
    assert all(answer == answers[0] for answer in answers)
    assert not any("SELECT" in statement for statement in answers[0][3]), answers[0][3]
