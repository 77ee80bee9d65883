"""Mails at the command line, and what the doctor says of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.mail import MailRefused, MailUnavailable
from gatehouse.testing.servers.ports import find_free_port
from tests.cli.conftest import Operator
from tests.services.test_outbox import FaultyTransport, deliver, queue, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing import Clock, Factory, Mailbox


def test_mails_that_were_given_up_are_listed_and_retried_one_by_one_or_all(
    app: Flask, operator: Operator, mailbox: Mailbox
) -> None:
    for _ in range(3):
        queue(app)
        assert deliver(app, FaultyTransport(MailRefused("550 no"))) == "dead"
    listed = operator.do("outbox", "list", "--state", "dead", "--limit", "2")
    assert (len(listed["items"]), listed["has_more"]) == (2, True)
    first = listed["items"][0]["id"]
    assert operator.do("outbox", "retry", first) == {"retried": [first]}
    assert "given up" in operator.fail("outbox", "retry", first)
    assert len(operator.do("outbox", "retry", "--all")["retried"]) == 2
    assert operator.do("outbox", "retry", "--all")["retried"] == []
    assert "550 no" in operator.run("outbox", "list").stdout
    assert mailbox.deliver() == ["sent"] * 3
    assert "550 no" not in operator.run("outbox", "list").stdout


@pytest.mark.parametrize("arguments", [[], ["0190a0a0-0000-7000-8000-000000000000", "--all"]])
def test_a_retry_names_one_mail_or_all(operator: Operator, arguments: list[str]) -> None:
    assert "--all" in operator.fail("outbox", "retry", *arguments)


@pytest.fixture
def examine(
    make_app: Callable[..., Flask], factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, str]]:
    """Return what the doctor says of mail, the code of each finding with its status."""
    monkeypatch.setattr("app.cli.doctor.check_files", lambda: iter(()))
    factory.admin()

    def run(**changes: str) -> dict[str, str]:
        result = Operator(make_app(RATELIMIT_ENABLED="true", **changes)).run("doctor", "--json")
        findings: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
        of_mail = [each for each in findings if each["check"] in {"mail", "MAIL_URL"}]
        return {each["code"] or each["check"]: each["status"] for each in of_mail}

    return run


def test_the_doctor_is_content_where_mail_can_go_and_none_waits(examine: Callable[..., dict[str, str]]) -> None:
    assert examine() == {"MAIL_URL": "ok", "mail": "ok"}


def test_the_doctor_finds_a_mail_server_that_is_away(examine: Callable[..., dict[str, str]]) -> None:
    assert examine(MAIL_URL=f"smtp://127.0.0.1:{find_free_port()}?timeout=1")["mail_away"] == "fault"


def test_the_doctor_finds_that_mail_is_only_printed(examine: Callable[..., dict[str, str]]) -> None:
    public = {"PUBLIC_URL": "https://accounts.example.com", "ALLOWED_HOSTS": "accounts.example.com"}
    assert examine(MAIL_URL="console:", **public)["mail_printed"] == "warning"
    assert "mail_printed" not in examine(MAIL_URL="console:")


def test_the_doctor_finds_that_nobody_sends_that_mail_waits_and_that_some_was_given_up(
    app: Flask, clock: Clock, examine: Callable[..., dict[str, str]]
) -> None:
    queue(app)
    clock.advance(61)
    assert examine()["mail_unclaimed"] == "fault"
    clock.advance(300)
    assert deliver(app, FaultyTransport(MailUnavailable("away"))) == "waiting"
    assert examine()["mail_late"] == "warning"
    clock.advance((read_rows(app)[0].due_at - clock.now()).total_seconds())
    assert deliver(app, FaultyTransport(MailRefused("no"))) == "dead"
    assert examine() == {"MAIL_URL": "ok", "mail": "ok", "mail_dead": "warning"}
