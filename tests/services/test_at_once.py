"""What happens when two do it at the same instant."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.database.faults import is_duplicate
from app.extensions import db, transaction
from app.models import Role, User
from app.permissions import ADMIN_ROLE, PERMISSIONS
from app.security import Actor, Client
from app.services import accounts, leaving, ratelimits, roles, users
from app.services.accounts import EmailTaken, InvalidCredentials, UserNotFound
from app.services.admins import LastAdmin
from app.services.ratelimits import RateLimitState, UnknownRole
from app.services.roles import RoleNotFound
from app.services.rows import get_row
from app.services.sessions import SignIn
from gatehouse.testing.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

ROUNDS = 12


def run_at_once(app: Flask, *works: Callable[[], object]) -> list[object]:
    """Run each work in a thread and an application context of its own, all at once; return results or errors."""
    barrier = threading.Barrier(len(works))
    outcomes: list[object] = [None] * len(works)

    def run(index: int, work: Callable[[], object]) -> None:
        with app.app_context():
            barrier.wait(10)
            try:
                outcomes[index] = work()
            except Exception as error:  # noqa: BLE001 - it is the outcome
                outcomes[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def make_operator(app: Flask) -> Actor:
    """Return the operator at the command line."""
    with app.app_context():
        return Actor.system()


def act_on(user: Any, how: str) -> Callable[[], object]:
    """Return a deed that takes an administrator away, by an actor who was still one when it began."""
    actor = Actor(user_id=None, permissions=frozenset(PERMISSIONS))
    own = Actor(user_id=user.id, permissions=frozenset(PERMISSIONS))
    deeds: dict[str, Callable[[], object]] = {
        "deactivate": lambda: users.update_user(user.id, changes={"is_active": False}, actor=actor),
        "demote": lambda: users.revoke_role(user.id, ADMIN_ROLE, actor=actor),
        "delete": lambda: users.delete_user(user.id, actor=actor),
        "leave": lambda: leaving.leave(actor=own),
    }
    return deeds[how]


def count_admins() -> int:
    """Return how many active administrators there are who do not leave."""
    query = sa.select(sa.func.count()).select_from(User).join(User.roles).where(Role.name == ADMIN_ROLE, User.is_active)
    query = query.where(User.deletion_due_at.is_(None))
    return db.session.scalar(query) or 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deactivate", "deactivate"),
        ("demote", "demote"),
        ("delete", "delete"),
        ("leave", "leave"),
        ("deactivate", "demote"),
        ("demote", "delete"),
        ("delete", "leave"),
    ],
)
def test_of_two_administrators_who_take_each_other_away_at_once_one_stays(
    app: Flask, factory: Factory, one: str, other: str
) -> None:
    for _ in range(ROUNDS):
        first, second = factory.admin(password=None), factory.admin(password=None)
        outcomes = run_at_once(app, act_on(first, one), act_on(second, other))
        assert [type(outcome) for outcome in outcomes].count(LastAdmin) == 1, outcomes
        with app.app_context():
            assert count_admins() == 1
            # The survivor goes, with somebody to take over, so that the next round begins with none.
            spare = factory.admin(password=None)
            for survivor in (first, second):
                try:
                    users.delete_user(survivor.id, actor=Actor.system())
                except UserNotFound:
                    continue
            with db.engine.connect().execution_options(is_write=True) as connection, connection.begin():
                connection.execute(sa.delete(User).where(User.id == spare.id))


def test_a_limit_that_is_changed_and_reset_at_once_is_one_or_the_other(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATELIMIT_ENABLED="true")
    actor = make_operator(app)
    for _ in range(ROUNDS):
        with app.app_context():
            ratelimits.change_limit("login", limits="7/hour", actor=actor)
        outcomes = run_at_once(
            app,
            lambda: ratelimits.change_limit("login", limits="8/hour", actor=actor),
            lambda: ratelimits.reset_limit("login", actor=actor),
            lambda: ratelimits.change_limit("login", limits="9/hour", actor=actor),
        )
        assert {type(outcome) for outcome in outcomes} == {RateLimitState}, outcomes


def test_a_role_that_is_deleted_while_it_gets_a_limit_is_unknown_or_takes_it_along(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(RATELIMIT_ENABLED="true")
    factory, actor = Factory(app), make_operator(app)
    for number in range(ROUNDS):
        name = factory.role(name=f"temporary{number}").name

        def limit(name: str = name) -> object:
            return ratelimits.change_limit("login", roles={name: "8/hour"}, actor=actor)

        def delete(name: str = name) -> object:
            roles.delete_role(name, actor=actor)
            return None

        outcomes = run_at_once(app, limit, delete, limit)
        assert {type(outcome) for outcome in outcomes} <= {RateLimitState, UnknownRole, type(None)}, outcomes
        with app.app_context():
            assert not any(state.by_role for state in ratelimits.list_limits())


def test_a_role_that_is_deleted_while_it_is_given_and_taken_is_unknown_to_whoever_comes_later(app: Flask) -> None:
    factory, actor = Factory(app), make_operator(app)
    user = factory.user()
    for number in range(ROUNDS):
        name = factory.role(name=f"temporary{number}").name

        def assign(name: str = name) -> object:
            return type(users.assign_role(user.id, name, actor=actor))

        def revoke(name: str = name) -> object:
            return type(users.revoke_role(user.id, name, actor=actor))

        def create(name: str = name) -> object:
            email = f"{name}@example.com"
            return type(users.create_user(email=email, name="", password=None, roles=[name], actor=actor))

        def delete(name: str = name) -> object:
            return roles.delete_role(name, actor=actor)

        outcomes = run_at_once(app, assign, delete, create, revoke)
        assert outcomes[1] is None
        kinds = {outcome if isinstance(outcome, type) else type(outcome) for outcome in outcomes}
        assert kinds <= {User, RoleNotFound, type(None)}, outcomes


def test_a_role_that_is_changed_while_two_delete_it_goes_once_and_is_unknown_to_the_others(app: Flask) -> None:
    factory, actor = Factory(app), make_operator(app)
    for number in range(ROUNDS):
        name = factory.role("users:read", "roles:read", name=f"passing{number}").name

        def delete(name: str = name) -> object:
            return roles.delete_role(name, actor=actor)

        def update(name: str = name) -> object:
            return type(roles.update_role(name, permissions=["users:read", "audit:read"], actor=actor))

        *deleted, updated = run_at_once(app, delete, delete, update)
        assert sorted(type(outcome).__name__ for outcome in deleted) == ["NoneType", "RoleNotFound"], deleted
        assert updated is Role or isinstance(updated, RoleNotFound), updated


def test_a_user_who_is_deleted_while_getting_a_role_and_a_session_is_unknown_to_whoever_comes_later(
    app: Flask,
) -> None:
    factory, actor = Factory(app), make_operator(app)
    role = factory.role("users:read").name
    for _ in range(ROUNDS):
        user = factory.user()

        def assign(user: Any = user) -> object:
            return type(users.assign_role(user.id, role, actor=actor))

        def sign_in(user: Any = user) -> object:
            client = Client(ip="127.0.0.1", user_agent="")
            return type(accounts.authenticate(email=user.email, password=PASSWORD, is_remembered=False, client=client))

        def delete(user: Any = user) -> object:
            return users.delete_user(user.id, actor=actor)

        outcomes = run_at_once(app, assign, delete, sign_in, assign)
        assert outcomes[1] is None
        kinds = {outcome if isinstance(outcome, type) else type(outcome) for outcome in outcomes}
        assert kinds <= {User, SignIn, UserNotFound, InvalidCredentials, type(None)}, outcomes


def test_only_an_address_that_is_there_already_is_called_taken(app: Flask, factory: Factory) -> None:
    first = factory.user()
    with app.app_context():
        for values, is_email in (({"id": first.id}, False), ({"email": first.email}, True)):
            with pytest.raises(sa.exc.IntegrityError) as caught, transaction() as writing:
                writing.execute(sa.insert(User).values({"email": "new@example.com"} | values))
            assert is_duplicate(caught.value, User.email) is is_email
            assert not is_duplicate(caught.value, Role.name)


@pytest.mark.parametrize("service", ["register", "create_user", "create_role"])
def test_another_constraint_that_is_violated_is_not_called_what_is_usual(
    app: Flask, factory: Factory, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, actor = factory.user(), make_operator(app)
    client = Client(ip="127.0.0.1", user_agent="")
    email = "new@example.com"
    services: dict[str, Callable[[], object]] = {
        "register": lambda: accounts.register(email=email, password=PASSWORD, name="", client=client),
        "create_user": lambda: users.create_user(email=email, name="", password=None, actor=actor),
        "create_role": lambda: roles.create_role(name="new", description="", permissions=[], actor=actor),
    }
    taken = Role(name=ADMIN_ROLE, description="") if service != "create_role" else User(email=user.email, name="")
    with app.app_context():
        # In the same transaction as the deed itself.
        monkeypatch.setattr("app.services.audit.record", lambda *_, **__: db.session.add(taken))
        with pytest.raises(sa.exc.IntegrityError):
            services[service]()


def test_of_many_who_register_one_address_at_once_one_gets_it(app: Flask) -> None:
    for number in range(ROUNDS):
        client = Client(ip="127.0.0.1", user_agent="")

        def register(email: str = f"new{number}@example.com", client: Client = client) -> object:
            return accounts.register(email=email, password=PASSWORD, name="", client=client)

        outcomes = run_at_once(app, *[register] * 3)
        assert sum(isinstance(outcome, EmailTaken) for outcome in outcomes) == 2, outcomes
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(User)) == ROUNDS


def test_over_http_the_loser_of_a_registration_gets_409(app: Flask) -> None:
    browsers = [Browser(app), Browser(app)]
    tokens = [browser.csrf_token() for browser in browsers]

    def register(browser: Browser, token: str) -> object:
        body = {"email": "ada@example.com", "password": PASSWORD}
        return browser.client.post("/api/v1/auth/register", json=body, headers={"X-CSRF-Token": token}).status_code

    works = [lambda pair=pair: register(*pair) for pair in zip(browsers, tokens, strict=True)]
    barrier = threading.Barrier(2)
    statuses: list[object] = []

    def run(work: Callable[[], object]) -> None:
        barrier.wait(10)
        statuses.append(work())

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, statuses)) == ["201", "409"]


def test_a_password_verified_before_another_change_neither_changes_nor_freshens(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = factory.user()
    browser = factory.sign_in(user)
    hasher = app.extensions["password_hasher"]
    verify = hasher.verify

    def change_meanwhile(password_hash: str | None, password: str) -> bool:
        is_right: bool = verify(password_hash, password)
        monkeypatch.setattr(hasher, "verify", verify)
        thread = threading.Thread(target=reset)
        thread.start()
        thread.join(10)
        return is_right

    def reset() -> None:
        with app.app_context():
            users.reset_password(user.id, password="velvet anchor mosaic thunder", actor=Actor.system())

    monkeypatch.setattr(hasher, "verify", change_meanwhile)
    body = {"current_password": PASSWORD, "new_password": "cobalt meadow ferry lichen"}
    assert browser.post("/api/v1/auth/password/change", body).get_json()["code"] == "invalid_credentials"
    again = factory.sign_in(user, password="velvet anchor mosaic thunder")
    monkeypatch.setattr(hasher, "verify", change_meanwhile)
    refused = again.post("/api/v1/auth/reauthenticate", {"password": "velvet anchor mosaic thunder"})
    assert refused.status_code == 401
    monkeypatch.setattr(hasher, "verify", change_meanwhile)
    body = {"email": user.email, "password": "velvet anchor mosaic thunder"}
    late = Browser(app).post("/api/v1/auth/login", body)
    assert late.status_code == 401


def test_a_session_that_ended_while_the_password_was_checked_is_not_brought_back(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = factory.user()
    browser, other = factory.sign_in(user), factory.sign_in(user)
    hasher = app.extensions["password_hasher"]
    verify = hasher.verify

    def end_meanwhile(password_hash: str | None, password: str) -> bool:
        monkeypatch.setattr(hasher, "verify", verify)
        thread = threading.Thread(target=lambda: other.delete("/api/v1/users/me/sessions"))
        thread.start()
        thread.join(10)
        is_right: bool = verify(password_hash, password)
        return is_right

    monkeypatch.setattr(hasher, "verify", end_meanwhile)
    response = browser.post("/api/v1/auth/reauthenticate", {"password": PASSWORD})
    assert (response.status_code, response.get_json()["code"]) == (404, "session_not_found")
    assert browser.get("/api/v1/users/me").status_code == 401


def test_of_those_who_change_a_locked_row_none_is_lost(app: Flask, factory: Factory) -> None:
    user_id = factory.user(name="0").id

    def add() -> None:
        with transaction():
            user = get_row(User, user_id, owner=None, is_locked=True)
            user.name = str(int(user.name) + 1)

    for _ in range(ROUNDS):
        outcomes = run_at_once(app, *[add] * 4)
        assert outcomes == [None] * 4
    with app.app_context():
        assert get_row(User, user_id, owner=None).name == str(4 * ROUNDS)
