"""The outbox: mails that wait to be sent, in the transaction of whatever caused them."""

import json

import sqlalchemy as sa

from app.extensions import db
from app.models import OutboxMessage
from app.security import seal


def queue(template: str, *, to: str, language: str | None = None, **context: str | None) -> None:
    """Queue a mail in the current transaction; the worker sends it once that is committed.

    ``to`` is an address in its canonical form. ``language`` is that of the request: the recipient's stored one, which
    the worker looks up, goes before it. ``context`` is what the template shows, or what the worker needs to make that
    of; it is stored encrypted and never shown.
    """
    message = {
        "template": template,
        "recipient": to,
        "language": language,
        "sealed_context": seal(json.dumps(context, ensure_ascii=False)),
    }
    db.session.connection().execute(sa.insert(OutboxMessage), message)
