"""``error_codes``, beside ``errors``: what is wrong, for fronts with words of their own."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import app as package
from app.http.openapi import Blueprint
from app.http.problems import UNNAMED
from app.ratelimit.plan import ALLOWED_NOTATION
from app.routes import BLUEPRINTS
from app.security import public
from app.utils import InvalidInput, Message
from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask


def read_codes(response: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the codes of a refusal, which has as many of them as messages, in the same fields."""
    problem = response.get_json()
    codes: dict[str, list[dict[str, Any]]] = problem["error_codes"]
    assert {field: len(each) for field, each in codes.items()} == {
        field: len(each) for field, each in problem["errors"].items()
    }
    return codes


@pytest.mark.parametrize(
    ("password", "coded"),
    [
        ("short", {"code": "password_too_short", "min": 15}),
        ("a" * 20, {"code": "password_too_easy"}),
        ("\u0344" * 200, {"code": "password_too_easy"}),
        ("a" * 257, {"code": "too_long", "min": 1, "max": 256}),
        ("", {"code": "too_short", "min": 1, "max": 256}),
    ],
)
def test_a_weak_password_tells_what_it_lacks(browser: Browser, password: str, coded: dict[str, Any]) -> None:
    body = {"email": "new@example.com", "password": password, "name": "New"}
    assert read_codes(browser.post("/api/v1/auth/register", body)) == {"password": [coded]}


def test_each_field_has_its_own(browser: Browser) -> None:
    body = {"email": "ada", "password": PASSWORD, "name": None, "is_admin": True}
    assert read_codes(browser.post("/api/v1/auth/register", body)) == {
        "email": [{"code": "invalid_email"}],
        "name": [{"code": "not_null"}],
        "is_admin": [{"code": "unknown"}],
    }
    assert read_codes(browser.send("POST", "/api/v1/auth/register", json=[])) == {
        "body": [{"code": "invalid_type", "expected": "object"}]
    }
    assert read_codes(browser.post("/api/v1/auth/login", {})) == {
        "email": [{"code": "required"}],
        "password": [{"code": "required"}],
    }


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        ("limit=0", {"limit": [{"code": "too_small", "min": 1, "max": 200}]}),
        ("limit=1&limit=2", {"limit": [{"code": "repeated"}]}),
        ("cursor=x", {"cursor": [{"code": "invalid_cursor"}]}),
        ("is_active=maybe", {"is_active": [{"code": "invalid_type", "expected": "boolean"}]}),
    ],
)
def test_so_has_a_query(admin_browser: Browser, query: str, codes: dict[str, Any]) -> None:
    assert read_codes(admin_browser.get(f"/api/v1/users?{query}")) == codes


def test_so_has_what_else_is_refused(admin_browser: Browser) -> None:
    role = {"name": "editor", "permissions": ["users:read", "users:fly"]}
    (coded,) = read_codes(admin_browser.post("/api/v1/roles", role))["permissions.1"]
    assert coded["code"] == "not_one_of"
    assert "users:read" in coded["choices"]
    limits = {"limits": "lots", "roles": {"editor": "lots"}}
    invalid = [{"code": "invalid_limits", "expected": ALLOWED_NOTATION}]
    assert read_codes(admin_browser.patch("/api/v1/ratelimits/login", limits)) == {
        "limits": invalid,
        "roles.editor.value": invalid,
    }
    assert read_codes(admin_browser.post("/api/v1/ratelimits/clear", {"key": "nobody at all"})) == {
        "key": [{"code": "invalid_key"}]
    }


def test_other_problems_have_neither(browser: Browser) -> None:
    assert not {"errors", "error_codes"} & browser.get("/api/v1/users/me").get_json().keys()


@pytest.mark.only_on("sqlite", reason="nothing is stored")
def test_words_without_a_code_have_the_general_one_and_parameters_may_be_of_any_kind(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    blueprint = Blueprint("cars", __name__, url_prefix="/api/v1/cars", description="Cars")
    values = {
        "price": decimal.Decimal("1.50"),
        "day": datetime.date(2026, 1, 31),
        "id": uuid.UUID(int=1),
    }

    @blueprint.route("")
    @blueprint.response(204)
    @blueprint.raises(InvalidInput)
    @public
    def list_cars() -> None:
        """List nothing."""
        raise InvalidInput(errors={"car": ["This is sold.", Message("This is sold.", "car_sold", **values)]})

    monkeypatch.setattr(package, "BLUEPRINTS", (*BLUEPRINTS, blueprint))
    told = {name: str(value) for name, value in values.items()}
    assert read_codes(Browser(make_app()).get("/api/v1/cars")) == {
        "car": [{"code": UNNAMED}, {"code": "car_sold", **told}]
    }
