"""The mails of a test: sent by the worker's own steps into a folder, and read from there."""

from __future__ import annotations

import email
import email.policy
import re
from typing import TYPE_CHECKING

from app.extensions import get_settings
from app.mail import make_transport
from app.services import deliveries, outbox

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

    from flask import Flask

_LEASE_SECONDS = 30
_TOKEN = re.compile(r"#token=([A-Za-z0-9_-]+)")
_CODE = re.compile(r"^\s*([0-9]{6})\s*$", re.MULTILINE)


class Mailbox:
    """What an application mails to anybody."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self._app = app
        self._folder = folder

    def deliver(self) -> list[str | None]:
        """Do in this thread what the worker does with mails that are due, and return what states they have now."""
        states: list[str | None] = []
        with self._app.app_context():
            transport = make_transport(get_settings().mail_url)
            while due := outbox.list_due(100):
                # In the order in which they were queued.
                for mail_id in sorted(due):
                    mail = outbox.claim(mail_id, lease_seconds=_LEASE_SECONDS)
                    assert mail is not None, "somebody else delivers"
                    outcome = deliveries.send(mail, transport)
                    assert outcome is not None
                    states.append(deliveries.note(mail, outcome))
        return states

    def read(self, to: str | None = None) -> list[EmailMessage]:
        """Return the mails that were delivered ``to`` an address, or all, in the order in which they were queued."""
        files = sorted(self._folder.glob("*.eml"))
        mails = [email.message_from_bytes(f.read_bytes(), policy=email.policy.default) for f in files]
        return [mail for mail in mails if to in {None, mail["To"].addresses[0].addr_spec}]

    def read_text(self, to: str) -> str:
        """Return what the newest mail to an address says, as text."""
        body = self.read(to)[-1].get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    def find_token(self, to: str) -> str:
        """Return the token of the first link in the newest mail to an address."""
        found = _TOKEN.search(self.read_text(to))
        assert found, f"the newest mail to {to} has no link with a token"
        return found[1]

    def find_code(self, to: str) -> str:
        """Return the code in the newest mail to an address."""
        found = _CODE.search(self.read_text(to))
        assert found, f"the newest mail to {to} has no code"
        return found[1]
