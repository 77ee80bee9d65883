"""What extensions add to the JSON of users."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.config import Settings
from app.extending import Extension
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Iterator

    from flask import Flask

USERS = "/api/v1/users"


@pytest.fixture
def extend(environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Make an application with one extension for each hook."""
    apps: list[Flask] = []

    def make(**hooks: Any) -> Flask:
        listed = [Extension(name=name, version="1", face=1, describe_users=hook) for name, hook in hooks.items()]
        apps.append(create_app(Settings.from_environ(environ), listed))
        return apps[-1]

    yield make
    for app in apps:
        close(app)


def test_a_page_of_users_costs_one_question(extend: Callable[..., Flask]) -> None:
    asked: list[list[uuid.UUID]] = []

    def describe(ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
        asked.append(list(ids))
        return {each: {"id": str(each)} for each in ids}

    app = extend(acme_cards=describe)
    factory = Factory(app)
    for _ in range(5):
        factory.user()
    browser = factory.sign_in(factory.admin())
    asked.clear()
    items = browser.get(USERS).get_json()["items"]
    assert [[str(each) for each in ids] for ids in asked] == [[item["id"] for item in items]]
    assert len(items) == 6
    assert all(item["extensions"] == {"acme_cards": {"id": item["id"]}} for item in items)


def test_each_answer_about_one_user_asks_once(extend: Callable[..., Flask]) -> None:
    asked: list[int] = []

    def describe(ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
        asked.append(len(ids))
        return dict.fromkeys(ids, "card")

    app = extend(acme_cards=describe)
    factory = Factory(app)
    user, browser = factory.user(), factory.sign_in(factory.admin())
    new = {"email": "new@example.com", "password": PASSWORD}
    asked.clear()
    answers = [
        Browser(app).post("/api/v1/auth/register", new).get_json(),
        Browser(app).post("/api/v1/auth/login", new).get_json()["user"],
        browser.get(f"{USERS}/me").get_json(),
        browser.patch(f"{USERS}/me", {"name": "Ada"}).get_json(),
        browser.get(f"{USERS}/{user.id}").get_json(),
        browser.patch(f"{USERS}/{user.id}", {"name": "Bob"}).get_json(),
        browser.put(f"{USERS}/{user.id}/roles/user").get_json(),
    ]
    assert [answer["extensions"] for answer in answers] == [{"acme_cards": "card"}] * len(answers)
    assert asked == [1] * len(answers)


def test_one_that_fails_is_null_and_disturbs_no_other(extend: Callable[..., Flask]) -> None:
    def fail(_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
        raise RuntimeError

    def end(_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
        sys.exit("this ends the process")

    app = extend(
        acme_broken=fail,
        acme_ending=end,
        acme_cards=lambda ids: dict.fromkeys(ids, 1),
        acme_odd=lambda ids: dict.fromkeys(ids, object()),
        acme_silent=lambda _ids: {},
    )
    factory = Factory(app)
    answer = factory.sign_in(factory.user()).get(f"{USERS}/me")
    assert answer.get_json()["extensions"] == {
        "acme_broken": None,
        "acme_cards": 1,
        "acme_ending": None,
        "acme_odd": None,
        "acme_silent": None,
    }
    assert app.extensions["extending"].failing == {"acme_broken", "acme_ending", "acme_odd"}
    assert list_failing(app) == ["acme_broken", "acme_ending", "acme_odd"]


def test_one_whose_export_fails_is_named_where_readiness_is_asked(environ: dict[str, str]) -> None:
    def fail(_user_id: uuid.UUID) -> Any:
        raise RuntimeError

    app = create_app(Settings.from_environ(environ), [Extension(name="acme_x", version="1", face=1, export_user=fail)])
    factory = Factory(app)
    browser = factory.sign_in(factory.user())
    assert list_failing(app) == []
    assert browser.get(f"{USERS}/me/export").get_json()["left_out"] == ["acme_x"]
    assert list_failing(app) == ["acme_x"]
    close(app)


def list_failing(app: Flask) -> list[str]:
    """Return whom readiness names."""
    states = app.test_client().get("/readyz").get_json()["checks"]["extensions"]
    return sorted(name for name, state in states.items() if state == "failing")


def test_the_document_names_what_is_added_where_something_is(extend: Callable[..., Flask]) -> None:
    with_cards, without = extend(acme_cards=dict.fromkeys), extend()
    described = Browser(with_cards).get("/openapi.json").get_json()["components"]["schemas"]
    for name in ("UserOutput", "OwnUserOutput"):
        assert list(described[name]["properties"]["extensions"]["properties"]) == ["acme_cards"]
        assert "extensions" in described[name]["required"]
    plain = Browser(without).get("/openapi.json").get_json()["components"]["schemas"]
    assert "extensions" not in plain["UserOutput"]["properties"]
    factory = Factory(without)
    assert "extensions" not in factory.sign_in(factory.user()).get(f"{USERS}/me").get_json()
