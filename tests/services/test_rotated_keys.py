"""Mails that wait while the key changes under which they are encrypted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from app.extensions import db
from app.mail import MailRefused
from app.models import OutboxMessage
from app.security import seal, unseal
from app.services import mails
from tests.cli.conftest import Operator
from tests.services.test_outbox import OTHER_KEY, FaultyTransport, claim, deliver, queue, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from flask import Flask

THIRD_KEY = "pLk9jH2gFd8sAq1wErT5yUiO3zXcVbN7mQaZwSxEdC6R"


def test_what_waits_is_encrypted_under_the_new_key_so_that_the_old_one_can_go(
    app: Flask, make_app: Callable[..., Flask], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        queue(app)
    assert deliver(app, FaultyTransport(MailRefused("no"))) == "dead"
    queue(make_app(SECRET_KEY=THIRD_KEY))
    new = make_app(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=environ["SECRET_KEY"])
    queue(new)
    assert rotate(new) == {"current": 1, "rotated": 5, "unreadable": 1}
    assert rotate(new)["rotated"] == 0
    alone = make_app(SECRET_KEY=OTHER_KEY)
    assert [deliver(alone, FaultyTransport()) for _ in range(5)] == ["sent"] * 5
    assert claim(alone) is None
    assert sorted(row.state for row in read_rows(app)) == ["dead"] * 2 + ["sent"] * 5


def test_what_a_worker_stores_while_mails_are_encrypted_anew_stays(
    app: Flask, make_app: Callable[..., Flask], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(app)
    new = make_app(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=environ["SECRET_KEY"])

    def seal_slowly(text: str) -> str:
        db.session.connection().execute(sa.update(OutboxMessage).values(sealed_context=seal("what was prepared")))
        return seal(text)

    monkeypatch.setattr(mails, "seal", seal_slowly)
    with new.app_context():
        assert mails.reseal().rotated == 0
        assert unseal(read_rows(new)[0].sealed_context) == "what was prepared"


def rotate(app: Flask) -> dict[str, int]:
    """Do what ``flask keys rotate`` does."""
    result = Operator(app).run("keys", "rotate", "--json")
    counted: dict[str, int] = json.loads(result.stdout)
    assert result.exit_code == (1 if counted["unreadable"] else 0)
    return counted
