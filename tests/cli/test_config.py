"""The settings as they are, and what throttles whom."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from app.cli.config import describe_settings, mask_url
from app.config import Settings
from app.database import parse_database_url
from app.environment import MASK, list_settings
from app.extensions import get_settings
from gatehouse.testing.databases import TEST_ENVIRON

if TYPE_CHECKING:
    from flask import Flask

    from tests.cli.conftest import Operator

ROLES = "staff.login=20/minute trial.default=60/minute;1000/day"


@pytest.mark.no_database
def test_every_setting_is_shown_and_no_secret_is(operator: Operator) -> None:
    shown = operator.do("config", "show")
    assert shown.keys() == {field.name.upper() for field in list_settings(Settings)}
    output = operator.run("config", "show").output
    assert TEST_ENVIRON["SECRET_KEY"] not in output
    assert shown["SECRET_KEY"] == MASK
    assert shown["DATABASE_URL"].startswith("sqlite:///")


def test_every_kind_of_value_is_shown_to_programs_too() -> None:
    settings = Settings.from_environ(TEST_ENVIRON | {"TRUSTED_PROXIES": "10.0.0.0/8", "RATELIMIT_ROLES": ROLES})
    shown = json.loads(json.dumps(describe_settings(settings)))
    assert (shown["TRUSTED_PROXIES"], shown["RATELIMIT_ROLES"]) == (["10.0.0.0/8"], ROLES)
    assert (shown["RATELIMIT_LOGIN"], shown["RATELIMIT_FALLBACK"]) == ("5/minute;10/5 minutes;20/15 minutes", "local")


@pytest.mark.no_database
def test_a_database_is_shown_without_its_password(app: Flask) -> None:
    with app.app_context():
        settings = dataclasses.replace(
            get_settings(), database_url=parse_database_url("postgresql://gate:hunter2@db.example/app")
        )
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
    assert mask_url(address) == shown
