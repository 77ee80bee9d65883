"""Lists of users: search, filters, orders and pages."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from app.models import User
from app.services import users
from app.services.pages import Listing

if TYPE_CHECKING:
    from flask import Flask

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.factories import Browser, Factory

USERS = "/api/v1/users"
SORTS = ["created_at", "-created_at", "email", "-email", "name", "-name"]


@pytest.fixture
def people(factory: Factory, clock: Clock) -> list[Any]:
    """Nine users: several made at one instant, several of one name."""
    made = []
    for number, name in enumerate(["Bob", "ada", "", "Bob", "Änne", "50%_off", "Zoë", "Bob", "日本"]):
        made.append(
            factory.user(email=f"{name.lower().strip('%_') or 'none'}{number}@example.com", name=name, password=None)
        )
        clock.advance(number % 3)
    return made


def walk(browser: Browser, query: str) -> list[dict[str, Any]]:
    """Return the items of all pages."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = browser.get(f"{USERS}?{query}{cursor}").get_json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def list_emails(browser: Browser, query: str) -> set[str]:
    """Return the addresses on all pages."""
    return {item["email"].partition("@")[0] for item in walk(browser, query)}


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("sort", SORTS)
def test_every_order_walks_everybody_once_in_pages_of_any_size(admin_browser: Browser, sort: str) -> None:
    field = sort.removeprefix("-")
    expected = walk(admin_browser, f"sort={sort}&limit=200")
    assert len(expected) == 10
    keys = [(item[field], item["id"]) for item in expected]
    assert keys == sorted(keys, reverse=sort.startswith("-"))
    for limit in (1, 2, 3, 9, 10, 11):
        assert walk(admin_browser, f"sort={sort}&limit={limit}") == expected


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("sort", SORTS)
def test_pages_stay_complete_while_users_come_and_go(admin_browser: Browser, factory: Factory, sort: str) -> None:
    before = {item["id"] for item in walk(admin_browser, "limit=200")}
    seen: list[str] = []
    deleted: str | None = None
    cursor: str | None = ""
    while cursor is not None:
        page = admin_browser.get(f"{USERS}?sort={sort}&limit=2{cursor and '&cursor=' + cursor}").get_json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if len(seen) <= 6:
            for name in ("", "Bob", "zzz"):  # before, among and behind
                factory.user(email=f"{name or 'aaa'}-new{len(seen)}@example.com", name=name, password=None)
        if deleted is None and "admin" not in page["items"][-1]["roles"]:
            deleted = seen[-1]  # which the cursor points at
            assert admin_browser.delete(f"{USERS}/{deleted}").status_code == 204
    assert deleted is not None
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("bob", {"bob0", "bob3", "bob7"}),
        ("BOB", {"bob0", "bob3", "bob7"}),
        ("%", set()),
        ("_", set()),
        ("50%_OFF", {"50%_off5"}),
        ("\\", set()),
        ("/", set()),
        ("'", set()),
        ("' OR 1=1 --", set()),
        ("日", {"日本8"}),
        ("none2@example", {"none2"}),
    ],
)
def test_a_search_finds_beginnings_of_words_of_name_and_address(
    admin_browser: Browser, q: str, found: set[str]
) -> None:
    assert list_emails(admin_browser, f"q={quote(q)}&limit=2") == found


def test_filters_narrow_the_list_and_go_together(admin_browser: Browser, factory: Factory, people: list[Any]) -> None:
    role = factory.role("users:read").name
    for person in people[:3]:
        admin_browser.put(f"{USERS}/{person.id}/roles/{role}")
    admin_browser.patch(f"{USERS}/{people[0].id}", {"is_active": False})
    assert list_emails(admin_browser, f"role={role}&limit=1") == {"bob0", "ada1", "none2"}
    assert list_emails(admin_browser, f"role={role}&is_active=false") == {"bob0"}
    assert list_emails(admin_browser, "is_active=false") == {"bob0"}
    assert list_emails(admin_browser, f"role={role}&is_active=true&q=ada&sort=-name") == {"ada1"}
    assert list_emails(admin_browser, "role=nothing") == set()
    assert len(list_emails(admin_browser, "is_active=true")) == 9


@pytest.mark.parametrize(
    "query",
    [
        "sort=password_hash",
        "sort=-password_hash",
        "sort=id",
        "sort=created_at;drop",
        "password_hash=x",
        "email=x",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=1.5",
        "limit=99999999999999999999999",
        "limit=x",
        "is_active=yes",
        "is_active=1",
        "q=a&q=b",
        "q=%00",
        "role=%00",
        f"q={'x' * 201}",
        f"cursor={'x' * 2001}",
    ],
)
def test_a_query_that_is_not_offered_is_refused_by_name(admin_browser: Browser, query: str) -> None:
    response = admin_browser.get(f"{USERS}?{query}")
    assert response.status_code == 422
    assert list(response.get_json()["errors"]) == [query.partition("=")[0]]


def encode(value: object) -> str:
    """Return a cursor that holds ``value``."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


UUID = "01a205ce-9fce-72c0-a45e-35cac95071fb"
NOW = "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "====",
        encode(None),
        encode([]),
        encode({"a": 1, "b": 2, "c": 3}),
        encode(["email", "a", UUID]),
        encode(["-created_at", NOW, UUID]),
        encode(["created_at", NOW, "x"]),
        encode(["created_at", NOW, 5]),
        encode(["created_at", NOW, None]),
        encode(["created_at", "2026-01-01T00:00:00", UUID]),
        encode(["created_at", "yesterday", UUID]),
        encode(["created_at", 5, UUID]),
        encode(["created_at", None, UUID]),
        encode(["created_at", "0001-01-01T00:00:00+14:00", UUID]),
        encode(["created_at", "9999-12-31T23:59:59-14:00", UUID]),
        encode(["created_at", "x" * 1000, UUID]),
        base64.b64encode(b"[" * 1100).decode(),
        base64.b64encode(b"\xff\xfe").decode(),
    ],
)
def test_a_cursor_that_was_not_made_by_this_list_is_refused(admin_browser: Browser, cursor: str) -> None:
    response = admin_browser.get(f"{USERS}?cursor={quote(cursor)}")
    assert (response.status_code, response.get_json()["code"]) == (422, "invalid_cursor")
    assert list(response.get_json()["errors"]) == ["cursor"]


@pytest.mark.parametrize("value", ["nul\0", "\ud800"])
def test_a_cursor_over_texts_holds_nothing_that_a_driver_refuses(admin_browser: Browser, value: str) -> None:
    response = admin_browser.get(f"{USERS}?sort=name&cursor={encode(['name', value, UUID])}")
    assert (response.status_code, response.get_json()["code"]) == (422, "invalid_cursor")


def test_the_cursor_of_the_longest_name_is_taken(admin_browser: Browser, factory: Factory) -> None:
    for _ in range(2):
        factory.user(name="\U0001f600" * 200)
    cursor = admin_browser.get(f"{USERS}?limit=1&sort=-name").get_json()["next_cursor"]
    assert admin_browser.get(f"{USERS}?limit=1&sort=-name&cursor={cursor}").status_code == 200


def test_a_listed_user_is_printed_without_the_hash(app: Flask, factory: Factory) -> None:
    factory.user(email="ada@example.com")
    with app.app_context():
        (listed,) = users.list_users(limit=1, q="ada", with_hashes=True).items
    assert listed.password_hash is not None
    assert listed.password_hash not in repr(listed)


def test_searching_a_list_that_has_no_column_for_it_is_told(app: Flask) -> None:
    listing: Listing[Any] = Listing(sa.select(User.id), filters={})
    with app.app_context(), pytest.raises(LookupError, match="no column that is searched"):
        listing.get_page(users.SORTS["created_at"], limit=1, cursor=None, search="ada")
