"""Extensions in a running application: what is listed counts, and only there."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click
import pytest
import sqlalchemy as sa

from app import create_app
from app.config import Settings
from app.environment import parse_text, setting
from app.extending import Extension, health
from app.extensions import db, get_extensions, get_permissions, get_settings
from app.http.openapi import Blueprint
from app.permissions import PERMISSIONS
from app.ratelimit import rate_limit
from app.security import Actor, requires
from gatehouse.testing.factories import Factory
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

ROLES = "/api/v1/roles"
INVOICES = "/api/v1/invoices"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InvoiceSettings:
    """The settings of the extension."""

    currency: str = setting(parse_text, "EUR")
    bank_key: str | None = setting(parse_text, None, is_secret=True)


def make_extension(name: str = "acme_invoices", word: str = "invoices", **parts: Any) -> Extension:
    """Return an extension with a route, a permission, a limit, settings and a command."""
    blueprint = Blueprint(name, name, url_prefix="/api/v1")

    @blueprint.route(f"/{word}")
    @rate_limit(f"RATELIMIT_{name.upper()}_LIST")
    @requires(f"{word}:read")
    def list_invoices() -> str:
        """List the invoices."""
        return get_settings(InvoiceSettings).currency

    @click.command(f"bill-{word}")
    def bill() -> None:
        """Print the currency."""
        click.echo(get_settings(InvoiceSettings).currency)

    standard: dict[str, Any] = {
        "name": name,
        "version": "1.2",
        "face": 1,
        "blueprints": [blueprint],
        "permissions": {f"{word}:read": "See the invoices"},
        "limits": {"list": "3/minute"},
        "settings": InvoiceSettings,
        "commands": [bill],
    }
    return Extension(**standard | parts)


@pytest.fixture
def make_with(environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Returns what makes an application with extensions, all of them on one database."""
    made: list[Flask] = []

    def make(*extensions: Extension, **changes: str) -> Flask:
        made.append(create_app(Settings.from_environ(environ | changes), extensions))
        return made[-1]

    yield make
    for app in made:
        close(app)


def test_two_applications_of_one_process_do_not_know_of_each_others_extensions(
    make_with: Callable[..., Flask],
) -> None:
    with_it, without = make_with(make_extension(), RATELIMIT_ENABLED="true"), make_with(RATELIMIT_ENABLED="true")
    admin = Factory(with_it).admin()
    inside, outside = (Factory(app).sign_in(admin) for app in (with_it, without))
    assert inside.get(INVOICES).text == "EUR"
    assert outside.get(INVOICES).status_code == 404
    for browser, expected in ((inside, {"invoices:read"}), (outside, set())):
        items = browser.get("/api/v1/permissions").get_json()["items"]
        assert {item["name"] for item in items} - PERMISSIONS.keys() == expected
        assert set(browser.get("/api/v1/users/me").get_json()["permissions"]) == PERMISSIONS.keys() | expected
        schemas = browser.get("/openapi.json").get_json()["components"]["schemas"]
        enum = schemas["RoleCreateInput"]["properties"]["permissions"]["items"]["enum"]
        assert set(enum) == PERMISSIONS.keys() | expected
    names = [
        {item["name"] for item in each.get("/api/v1/ratelimits").get_json()["items"]} for each in (inside, outside)
    ]
    assert names[0] - names[1] == {"acme-invoices-list"}
    assert without.test_cli_runner().invoke(args=["bill-invoices"]).exit_code == 2
    with without.app_context(), pytest.raises(LookupError, match="InvoiceSettings belongs to no extension"):
        get_settings(InvoiceSettings)


def test_two_extensions_stand_side_by_side_in_the_order_of_the_list(make_with: Callable[..., Flask]) -> None:
    app = make_with(make_extension("acme_stock", "goods"), make_extension(settings=None))
    runner = app.test_cli_runner()
    listed = runner.invoke(args=["extension", "list", "--json"])
    assert [each["name"] for each in json.loads(listed.output)] == ["acme_stock", "acme_invoices"]
    assert json.loads(listed.output)[0]["migrations"] is None
    assert "1 route, 1 permission, 3 settings, 1 limit, 1 command" in runner.invoke(args=["extension", "list"]).output
    browser = Factory(app).sign_in_with("goods:read")
    assert (browser.get("/api/v1/goods").status_code, browser.get(INVOICES).status_code) == (200, 403)


def test_its_migrations_are_shown_with_the_one_that_is_needed(make_with: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "0001_nothing.py").write_text(
        "revision = '0001'\ndown_revision = None\n\n\ndef upgrade() -> None: ...\n\n\ndef downgrade() -> None: ...\n"
    )
    runner = make_with(make_extension(migrations=tmp_path)).test_cli_runner()
    (described,) = json.loads(runner.invoke(args=["extension", "list", "--json"]).output)
    assert described["migrations"] == {"head": None, "wanted_head": "0001"}
    assert "none, needs 0001" in runner.invoke(args=["extension", "list"]).output


def test_what_a_role_holds_of_an_extension_counts_while_that_is_listed(make_with: Callable[..., Flask]) -> None:
    with_it, without = make_with(make_extension()), make_with()
    factory = Factory(with_it)
    admin = factory.sign_in(factory.admin())
    body = {"name": "clerk", "permissions": ["invoices:read", "users:read"]}
    assert admin.post(ROLES, body).status_code == 201
    outside = Factory(without).sign_in(factory.admin())
    assert outside.get(f"{ROLES}/clerk").get_json()["permissions"] == ["users:read"]
    assert outside.post(ROLES, body | {"name": "other"}).status_code == 422
    # Whoever changes the role meanwhile neither sees nor loses it.
    assert outside.patch(f"{ROLES}/clerk", {"permissions": ["audit:read"]}).get_json()["permissions"] == ["audit:read"]
    assert admin.get(f"{ROLES}/clerk").get_json()["permissions"] == ["audit:read", "invoices:read"]
    assert admin.patch(f"{ROLES}/clerk", {"permissions": []}).get_json()["permissions"] == []
    with with_it.app_context():
        assert "invoices:read" in Actor.system().permissions
    result = with_it.test_cli_runner().invoke(args=["role", "set", "clerk", "invoices:read", "--json"])
    assert '"invoices:read"' in result.output
    assert without.test_cli_runner().invoke(args=["role", "set", "clerk", "invoices:read"]).exit_code == 1


def test_its_limits_are_changed_while_the_server_runs_and_for_roles(make_with: Callable[..., Flask]) -> None:
    app = make_with(
        make_extension(), RATELIMIT_ENABLED="true", RATELIMIT_ACME_INVOICES_LIST="2/minute",
        RATELIMIT_ROLES="clerk.acme-invoices-list=5/minute",
    )  # fmt: skip
    factory = Factory(app)
    admin = factory.sign_in(factory.admin())
    assert [admin.get(INVOICES).status_code for _ in range(3)] == [200, 200, 429]
    path = "/api/v1/ratelimits/acme-invoices-list"
    changed = admin.patch(path, {"limits": "4/minute"}).get_json()
    assert (changed["configured"], changed["limits"], changed["roles"]) == (
        "2/minute",
        "4/minute",
        {"clerk": "5/minute"},
    )
    assert [admin.get(INVOICES).status_code for _ in range(3)] == [200, 200, 429]


def test_its_settings_are_shown_masked(make_with: Callable[..., Flask]) -> None:
    app = make_with(make_extension(), ACME_INVOICES_CURRENCY="CHF", ACME_INVOICES_BANK_KEY="hidden-key")
    runner = app.test_cli_runner()
    output = runner.invoke(args=["config", "show"]).output
    assert "hidden-key" not in output + repr(app.extensions["settings"]) + repr(get_state(app).settings)
    shown = [line.split() for line in output.splitlines() if "ACME_INVOICES" in line]
    assert shown == [
        ["ACME_INVOICES_CURRENCY", "CHF"],
        ["ACME_INVOICES_BANK_KEY", "********"],
        ["RATELIMIT_ACME_INVOICES_LIST", "3/minute"],
    ]
    assert runner.invoke(args=["bill-invoices"]).output == "CHF\n"
    assert "acme_invoices 1.2, face 1" in runner.invoke(args=["doctor"]).output


def get_state(app: Flask) -> Any:
    """Return the extensions of an application."""
    with app.app_context():
        return get_extensions()


# --- hooks and health ---


def test_a_hook_that_fails_leaves_the_others_and_the_requests_session_alone(make_with: Callable[..., Flask]) -> None:
    def fail(_ids: object) -> dict[Any, Any]:
        db.session.execute(sa.text("SELECT nothing FROM nowhere"))
        return {}

    app = make_with(
        make_extension(describe_users=fail), make_extension("acme_stock", "goods", describe_users=lambda _: {})
    )
    user = Factory(app).user()
    with app.app_context():
        found = db.session.scalars(sa.select(type(user))).all()
        assert get_extensions().collect(lambda each: each.describe_users, [user.id]) == {"acme_stock": {}}
        assert found[0].email == user.email
        assert db.session.scalar(sa.text("SELECT 1")) == 1
        assert get_extensions().failing == {"acme_invoices"}
    assert ask_ready(app.test_client())["checks"]["extensions"] == {
        "acme_invoices": "failing",
        "acme_stock": "ok",
    }


def test_a_hook_that_works_again_no_longer_fails_and_another_hook_does_not_say_so(
    make_with: Callable[..., Flask],
) -> None:
    is_away = True

    def export(_user_id: object) -> str:
        if is_away:
            raise ValueError("away")
        return "all"

    app = make_with(make_extension(export_user=export, describe_users=lambda _: {}))
    with app.app_context():
        extensions = get_extensions()
        extensions.collect(lambda each: each.export_user, None)
        extensions.collect(lambda each: each.describe_users, [])
        assert extensions.failing == {"acme_invoices"}
        is_away = False
        assert extensions.collect(lambda each: each.export_user, None) == {"acme_invoices": "all"}
        assert extensions.failing == set()


def ask_ready(client: Any) -> dict[str, Any]:
    """Return what readiness says; a machine that is busy may take the database for away."""
    deadline = time.monotonic() + 20
    while True:
        response = client.get("/readyz")
        if response.status_code == 200:
            body: dict[str, Any] = response.get_json()
            return body
        assert time.monotonic() < deadline, response.text


def raise_error() -> str | None:
    raise ValueError("postgresql://user:secret@host/db")


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (lambda: None, "ok"),
        (lambda: "the bank is away", "failing"),
        (raise_error, "failing"),
        (sys.exit, "failing"),
    ],
)
def test_readiness_names_what_extensions_say(
    check: Callable[[], str | None], state: str, make_with: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    client = make_with(make_extension(check_health=check)).test_client()
    for _ in range(2):
        body = ask_ready(client)
        assert body["checks"]["extensions"] == {"acme_invoices": state}
        assert body["status"] == ("ok" if state == "ok" else "degraded")
    # Load balancers ask often: what is new is told, once.
    assert len([line for line in caplog.messages if "acme_invoices is failing" in line]) == (state == "failing")
    assert "secret" not in caplog.text


def test_a_check_that_hangs_is_failing_and_holds_one_thread_only(
    make_with: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "HEALTH_SECONDS", 0.05)
    is_over, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        is_over.wait(60)

    client = make_with(make_extension(check_health=hang)).test_client()
    try:
        for _ in range(3):
            assert ask_ready(client)["checks"]["extensions"] == {"acme_invoices": "failing"}
        assert len(asked) == 1
    finally:
        is_over.set()
        for thread in threading.enumerate():
            if thread.name == "health-acme_invoices":
                thread.join(60)


def test_without_extensions_readiness_and_the_way_to_a_user_are_as_they_were(
    app: Flask, user_browser: Any, assert_queries: Callable[[int], Any]
) -> None:
    assert ask_ready(app.test_client())["checks"].keys() == {"database", "ratelimit", "mail"}
    with assert_queries(1):
        assert user_browser.get("/api/v1/users/me").status_code == 200
    with app.app_context():
        assert get_permissions() == PERMISSIONS.keys()


def test_with_extensions_the_way_to_a_user_is_as_short(make_with: Callable[..., Flask], monkeypatch: Any) -> None:
    app = make_with(make_extension())
    browser = Factory(app).sign_in_with("invoices:read")
    fetched: list[object] = []
    from app.database import Lookup  # noqa: PLC0415

    find = Lookup.find

    def note(lookup: Any, engine: Any, value: str) -> Any:
        fetched.append(lookup)
        return find(lookup, engine, value)

    monkeypatch.setattr(Lookup, "find", note)
    assert browser.get("/api/v1/users/me").get_json()["permissions"] == ["invoices:read"]
    assert len(fetched) == 1
