"""The settings as they are, and what throttles whom."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from app.cli.config import describe_settings, mask_address
from app.config import MASK, Settings
from app.extensions import get_settings, limiter
from app.services import audit
from tests.databases import TEST_ENVIRON

if TYPE_CHECKING:
    from flask import Flask

    from tests.cli.conftest import Operator
    from tests.factories import Factory


@pytest.mark.no_database
def test_every_setting_is_shown_and_no_secret_is(operator: Operator) -> None:
    shown = operator.do("config", "show")
    assert shown.keys() == {field.name.upper() for field in dataclasses.fields(Settings)}
    output = operator.run("config", "show").output
    assert TEST_ENVIRON["SECRET_KEY"] not in output
    assert shown["SECRET_KEY"] == MASK
    assert shown["DATABASE_URL"].startswith("sqlite:///")


@pytest.mark.no_database
def test_a_database_is_shown_without_its_password(app: Flask) -> None:
    with app.app_context():
        settings = dataclasses.replace(get_settings(), database_url="postgresql://gate:hunter2@db.example/app")
    assert describe_settings(settings)["DATABASE_URL"] == f"postgresql://gate:{MASK}@db.example/app"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://u:hunter2@h1:3306,h2:3306/db?pool_size=5", f"mysql://u:{MASK}@h1:3306,h2:3306/db?pool_size=5"),
        ("postgresql://u:hun/ter2@h/db", f"postgresql://u:{MASK}@h/db"),
        ("postgresql://u:hunt@er2@h/db", f"postgresql://u:{MASK}@h/db"),
        ("postgresql://u:hun?ter2@h/db", f"postgresql://u:{MASK}@h/db"),
        ("postgresql://u:hun:ter2@h/db", f"postgresql://u:{MASK}@h/db"),
        ("postgresql://u@h/db?sslmode=verify-full", "postgresql://u@h/db?sslmode=verify-full"),
        (
            "postgresql://h/db?user=u&password=hunter2&pool_size=2",
            f"postgresql://h/db?user=u&password={MASK}&pool_size=2",
        ),
        ("postgresql://h/db?sslpassword=hunter2", f"postgresql://h/db?sslpassword={MASK}"),
        ("redis://:hunter2@h:6379/0", f"redis://:{MASK}@h:6379/0"),
        ("sqlite:////srv/a@b/app.db", "sqlite:////srv/a@b/app.db"),
        ("memory://", "memory://"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert mask_address(address) == shown


@pytest.mark.no_database
def test_counts_of_memory_are_said_to_be_out_of_reach(operator: Operator) -> None:
    for verb in ("show", "clear"):
        assert "Restart the server" in operator.fail("ratelimit", verb, "account:ada@example.com")


@pytest.fixture
def counted(app: Flask, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, int]]:
    """What a limiter with a store holds."""
    app.extensions["settings"] = dataclasses.replace(
        app.extensions["settings"], ratelimit_storage_uri="redis://localhost"
    )
    counts = {"account:ada@example.com": {"10 per minute": 10}}
    monkeypatch.setattr(limiter, "show", lambda key: counts.get(key, {}))
    monkeypatch.setattr(limiter, "clear", lambda key: counts.pop(key, None))
    return counts


def test_counts_are_shown_and_cleared_by_the_canonical_address(
    app: Flask, operator: Operator, factory: Factory, counted: dict[str, dict[str, int]]
) -> None:
    user = factory.user(email="ada@example.com")
    key = "account:Ada@Example.com"
    assert operator.do("ratelimit", "show", key)["counted"] == {"10 per minute": 10}
    assert operator.run("ratelimit", "show", key).stdout == "10 per minute: 10\n"
    operator.do("ratelimit", "clear", key)
    assert counted == {}
    assert operator.run("ratelimit", "show", key).stdout == "Nothing is counted for account:ada@example.com.\n"
    with app.app_context():
        (entry,) = audit.list_entries(limit=5, action="ratelimit.cleared").items
    assert entry.target == str(user.id)


def test_the_counts_of_an_address_are_cleared_under_its_own_name(
    app: Flask, operator: Operator, counted: dict[str, dict[str, int]]
) -> None:
    operator.do("ratelimit", "clear", "address:192.0.2.7")
    assert counted != {}
    with app.app_context():
        assert audit.list_entries(limit=5).items[0].target == "address:192.0.2.7"


@pytest.mark.parametrize("key", ["account", "account:", "account:nobody"])
@pytest.mark.no_database
def test_a_key_of_another_form_is_refused(operator: Operator, counted: dict[str, dict[str, int]], key: str) -> None:
    operator.fail("ratelimit", "clear", key)
    assert counted
