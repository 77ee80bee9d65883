"""``ratelimit``: limits and counts, at the command line. What needs a store is in tests/servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from tests.cli.conftest import Operator


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN="5/hour")


def test_limits_are_listed_set_and_reset(operator: Operator) -> None:
    assert operator.do("ratelimit", "set", "login", "7 per hour")["limits"] == "7 per hour"
    assert operator.do("ratelimit", "set", "login", "70/hour", "--role", "admin")["roles"] == {"admin": "70/hour"}
    listed = {limit["name"]: limit for limit in operator.do("ratelimit", "list")}
    assert (listed["login"]["limits"], listed["login"]["configured"]) == ("7 per hour", "5/hour")
    lines = operator.run("ratelimit", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ROLE", "LIMITS", "CONFIGURED"]
    assert ["login", "admin", "70/hour"] in [line.split() for line in lines]
    assert operator.do("ratelimit", "reset", "login", "--role", "admin")["roles"] == {}
    assert operator.do("ratelimit", "reset", "login")["limits"] == "5/hour"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("set", "login", "5 apples"), "limits"),
        (("set", "lgin", "5/minute"), "no limit of this name"),
        (("set", "login", "5/minute", "--role", "nobody"), "nobody"),
        (("reset", "lgin"), "no limit of this name"),
        (("show", "address:192.0.2.1"), "RATELIMIT_STORAGE_URI"),
        (("clear", "address:192.0.2.1"), "RATELIMIT_STORAGE_URI"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(operator: Operator, arguments: tuple[str, ...], word: str) -> None:
    assert word in operator.fail("ratelimit", *arguments)
