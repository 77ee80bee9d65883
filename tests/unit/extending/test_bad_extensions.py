"""Extensions that are not in order stop the start: one message names every fault, and nothing is registered."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click
import flask
import pytest

from app.config import Settings
from app.environment import SettingsError, parse_int, parse_text, setting
from app.extending import Extension
from app.http.openapi import Blueprint
from app.product import load_extensions
from app.ratelimit import rate_limit
from app.security import public, requires
from gatehouse.testing.databases import TEST_ENVIRON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "turnip lantern gravel"


def make(name: str = "acme_invoices", **parts: Any) -> Extension:
    """Return an extension of these parts."""
    standard: dict[str, Any] = {"name": name, "version": "1.0", "face": 1}
    return Extension(**standard | parts)


def find_faults(*given: Extension, **environ: str) -> list[str]:
    """Return what stops the start."""
    try:
        load_extensions(Settings.from_environ(TEST_ENVIRON | environ), given)
    except SettingsError as error:
        return error.faults
    return []


def make_blueprint(
    path: str = "/api/v1/invoices", name: str = "acme_invoices", guard: Any = public, methods: Any = ("GET",)
) -> Blueprint:
    """Return a blueprint with one route."""
    blueprint = Blueprint(name, name)

    def list_invoices() -> str:
        """List the invoices."""
        return ""

    blueprint.route(path, methods=methods)(guard(list_invoices))
    return blueprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class InvoiceSettings:
    """Some settings."""

    currency: str = setting(parse_text, "EUR")
    due_days: int = setting(parse_int(at_least=1, at_most=90), "14")
    bank_key: str | None = setting(parse_int(at_least=1, at_most=9), None, is_secret=True)  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LooseSettings:
    """A field that does not say how it is read, and one that carries the prefix already."""

    loose: str = "x"
    acme_invoices_currency: str = setting(parse_text, "EUR")


# --- the list ---


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Returns what writes a package that can be imported until the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", sys.modules.copy())

    def write(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)

    return write


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import nowhere_at_all", "cannot be imported, it needs nowhere_at_all"),
        ("\nraise RuntimeError('half\\nway')", "acme_faulty/__init__.py:2: RuntimeError: half way"),
        ("raise SystemExit('bye')", "acme_faulty/__init__.py:1: SystemExit: bye"),
        ("", "has no extension: write extension = Extension(…)"),
        ("extension = 7", "its extension is a int"),
        (
            "from gatehouse import Extension\nextension = Extension(name='other', version='1', face=1)",
            "its extension is called 'other'",
        ),
        (
            "from gatehouse import Extension\nextension = Extension(name='acme_faulty', version='1', face=99)",
            "it is written for face 99, and this product offers 1",
        ),
    ],
)
def test_a_package_that_is_no_extension_is_refused(
    text: str, fault: str, make_package: Callable[[str, str], None]
) -> None:
    make_package("acme_faulty", text)
    (told,) = find_faults(APP_EXTENSIONS="acme_faulty")
    assert told.startswith("acme_faulty: ")
    assert fault in told


def test_a_package_that_is_not_there_is_told_apart_from_an_error_inside_one() -> None:
    assert find_faults(APP_EXTENSIONS="acme_absent") == [
        "acme_absent: there is no package of this name: install it, or take it off APP_EXTENSIONS"
    ]


def test_the_list_comes_first_and_what_is_given_twice_is_there_once(make_package: Callable[[str, str], None]) -> None:
    for name in ("acme_second", "acme_first"):
        make_package(
            name, f"from gatehouse import Extension\nextension = Extension(name='{name}', version='1', face=1)"
        )
    given = make()
    settings = Settings.from_environ(TEST_ENVIRON | {"APP_EXTENSIONS": "acme_second, acme_first,acme_second"})
    found = load_extensions(settings, [given, given])
    assert [each.name for each in found] == ["acme_second", "acme_first", "acme_invoices"]


def test_every_fault_of_all_is_told_in_one_message_that_settings_have_too() -> None:
    first, second = make(permissions={"users:fly": "Fly"}), make("acme_stock", limits={"export": "often"})
    with pytest.raises(SettingsError) as error:
        load_extensions(Settings.from_environ(TEST_ENVIRON | {"APP_EXTENSIONS": "acme_absent"}), [first, second])
    assert len(error.value.faults) == 3
    assert str(error.value).startswith("The extensions cannot be loaded:\n  - acme_absent: ")


@pytest.mark.parametrize(
    "name",
    ["Acme", "1acme", "acme-x", "acme__x", "acme_", "a" * 31, "", "ä", "user_notes", "mail", "webhooks_acme", "app"],
)
def test_a_name_that_is_none_or_the_products_is_refused(name: str) -> None:
    assert len(find_faults(make(name))) == 1


def test_names_that_begin_with_one_another_are_refused() -> None:
    (fault,) = find_faults(make("zebra"), make("zebra_stock"))
    assert fault.startswith("zebra and zebra_stock: ")
    assert find_faults(make("zebra"), make("zebrastock")) == []
    (twice,) = find_faults(make("zebra", permissions={"a:b": "c"}), make("zebra", permissions={"a:b": "c"}))
    assert twice.startswith("zebra: two extensions have this name")


# --- permissions and commands ---


def test_a_permission_belongs_to_one() -> None:
    assert find_faults(make(permissions={"users:read": "x"})) == [
        "the permission users:read belongs to Gatehouse and to acme_invoices: rename one"
    ]
    both = {"invoices:read": "See invoices"}
    assert find_faults(make(permissions=both), make("acme_stock", permissions=both)) == [
        "the permission invoices:read belongs to acme_invoices and to acme_stock: rename one"
    ]


@pytest.mark.parametrize(
    "name", ["invoices", "invoices:", ":read", "Invoices:read", "a:b:c", "users:fly", "webhooks:read"]
)
def test_a_permission_has_two_words_the_first_of_its_own(name: str) -> None:
    (fault,) = find_faults(make(permissions={name: "Something"}))
    assert name in fault
    assert "does not say" in find_faults(make(permissions={"invoices:read": " "}))[0]


def test_a_command_belongs_to_one() -> None:
    for name in ("doctor", "run", "db"):
        assert find_faults(make(commands=[click.Command(name)])) == [
            f"the command {name} belongs to Gatehouse and to acme_invoices: rename one"
        ]
    bill = click.Command("bill")
    assert find_faults(make(commands=[bill]), make("acme_stock", commands=[bill])) == [
        "the command bill belongs to acme_invoices and to acme_stock: rename one"
    ]
    assert "has no name" in find_faults(make(commands=[click.Command(None)]))[0]


# --- settings and limits ---


def test_wrong_settings_are_told_as_the_products_are_and_show_no_secret() -> None:
    faults = find_faults(make(settings=InvoiceSettings), ACME_INVOICES_DUE_DAYS="91", ACME_INVOICES_BANK_KEY=SECRET)
    assert faults == [
        "acme_invoices: ACME_INVOICES_DUE_DAYS: expected a whole number from 1 to 90, got '91'",
        "acme_invoices: ACME_INVOICES_BANK_KEY: expected a whole number from 1 to 9",
    ]


def test_settings_have_to_say_how_they_are_read_and_leave_the_prefix_out() -> None:
    assert [fault.partition(": ")[2] for fault in find_faults(make(settings=LooseSettings))] == [
        "its setting loose does not say how it is read: write loose = setting(…)",
        "its setting acme_invoices_currency begins with its name already, which is put before it: call it currency",
    ]
    assert "no frozen dataclass" in find_faults(make(settings=dict))[0]


def test_an_unknown_setting_under_the_prefix_stops_the_start() -> None:
    extension = make(settings=InvoiceSettings, limits={"export": "5/minute"})
    (fault,) = find_faults(extension, ACME_INVOICES_CURENCY="x")
    assert fault.startswith("acme_invoices: ACME_INVOICES_CURENCY: expected a setting that the extension has; it has ")
    assert len(find_faults(extension, RATELIMIT_ACME_INVOICES_EXPROT="x")) == 1
    assert len(find_faults(make(), ACME_INVOICES_X="x")) == 1
    assert len(find_faults(extension, acme_invoices_currency="CHF")) == 1, "it would not be read"
    assert find_faults(extension, ACME_STOCK_X="x", ACME_INVOICESX="x") == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "80"),
        ("SERVICE_PORT_HTTP", "80"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PORT_80_TCP_PROTO", "tcp"),
        ("WEB_SERVICE_HOST", "10.0.0.1"),
        ("WEB_PORT", "tcp://10.0.0.1:80"),
    ],
)
def test_what_kubernetes_tells_of_a_service_of_that_name_is_no_setting(name: str, text: str) -> None:
    assert find_faults(make(), **{f"ACME_INVOICES_{name}": text}) == []
    assert len(find_faults(make(), ACME_INVOICES_PORT="80")) == 1


@pytest.mark.parametrize(
    "limits", [{"export": "often"}, {"Export": "5/minute"}, {"": "5/minute"}, {"e" * 60: "5/minute"}]
)
def test_a_limit_has_a_name_and_a_notation(limits: dict[str, str]) -> None:
    assert len(find_faults(make(limits=limits))) == 1


def test_a_limit_that_is_set_wrongly_is_named_by_its_setting() -> None:
    (fault,) = find_faults(make(limits={"export": "5/minute"}), RATELIMIT_ACME_INVOICES_EXPORT="often")
    assert "RATELIMIT_ACME_INVOICES_EXPORT: expected" in fault


def test_roles_have_limits_of_extensions_that_are_listed_only() -> None:
    entry = "staff.acme-invoices-export=9/minute"
    assert find_faults(make(limits={"export": "5/minute"}), RATELIMIT_ROLES=entry) == []
    (fault,) = find_faults(make(), RATELIMIT_ROLES=entry)
    assert fault.startswith("RATELIMIT_ROLES: ")


# --- routes ---


def test_a_route_needs_a_guard_that_names_what_is_declared() -> None:
    (fault,) = find_faults(make(blueprints=[make_blueprint(guard=lambda view: view)]))
    assert (
        fault == "acme_invoices: its route acme_invoices.list_invoices has no guard: put @requires(…) or @public on it"
    )
    guarded = make_blueprint(guard=requires("invoices:read"))
    (fault,) = find_faults(make(blueprints=[guarded]))
    assert "requires invoices:read, which nobody declares" in fault
    assert find_faults(make(blueprints=[guarded], permissions={"invoices:read": "See invoices"})) == []


def test_a_route_needs_limits_that_there_are() -> None:
    blueprint = make_blueprint(guard=lambda view: rate_limit("RATELIMIT_ACME_INVOICES_EXPORT")(public(view)))
    (fault,) = find_faults(make(blueprints=[blueprint]))
    assert "limited by acme-invoices-export, which does not exist" in fault
    assert find_faults(make(blueprints=[blueprint], limits={"export": "5/minute"})) == []


def test_a_path_belongs_to_one_whatever_its_variables_are_called() -> None:
    first = make(blueprints=[make_blueprint("/api/v1/invoices/<int:number>")])
    second = make("acme_stock", blueprints=[make_blueprint("/api/v1/invoices/<id>", "acme_stock")])
    assert find_faults(first, second) == [
        "the path GET /api/v1/invoices/<> belongs to acme_invoices and to acme_stock: rename one"
    ]
    (fault,) = find_faults(make(blueprints=[make_blueprint("/api/v1/users/<who>")]))
    assert fault == "the path GET /api/v1/users/<> belongs to Gatehouse and to acme_invoices: rename one"


@pytest.mark.parametrize(
    ("path", "methods", "taken"),
    [
        ("/api/v1/users/", ["GET"], "GET /api/v1/users"),
        ("/api/v1/users", ["OPTIONS", "POST"], "POST /api/v1/users"),
        ("/static/<path:file>", ["GET"], "GET /static/<>"),
    ],
)
def test_no_path_of_the_product_is_taken_by_another_spelling_or_method(path: str, methods: Any, taken: str) -> None:
    faults = find_faults(make(blueprints=[make_blueprint(path, methods=methods)]))
    assert f"the path {taken} belongs to Gatehouse and to acme_invoices: rename one" in faults


def test_blueprints_are_documented_and_begin_with_the_extensions_name() -> None:
    (fault,) = find_faults(make(blueprints=[make_blueprint(name="invoices")]))
    assert "does not begin with its name: call it acme_invoices_invoices" in fault
    (fault,) = find_faults(make(blueprints=[flask.Blueprint("acme_invoices", __name__)]))
    assert "make it a gatehouse.Blueprint" in fault
    (fault,) = find_faults(make(blueprints=[make_blueprint(), make_blueprint("/api/v1/more")]))
    assert "cannot be registered" in fault
