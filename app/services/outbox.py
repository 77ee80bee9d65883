"""The outbox: mails that wait to be sent, in the transaction of whatever caused them."""

import dataclasses
import datetime
import json
import uuid
from collections.abc import Mapping

import sqlalchemy as sa

from app.extensions import db, get_settings
from app.models import OutboxMessage
from app.security import seal


@dataclasses.dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail that the worker is about to send, as it was queued."""

    id: uuid.UUID
    recipient: str
    language: str | None
    created_at: datetime.datetime
    context: Mapping[str, str | None] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What a mail's template shows, links included; ``language``, ``template`` and ``recipient`` where they change."""

    context: Mapping[str, str | None] = dataclasses.field(repr=False)
    language: str | None = None
    template: str | None = None
    recipient: str | None = None


def make_link(page: str, token: str | None = None) -> str:
    """Return the link to the page that answers a mail.

    The token is in the fragment, which browsers keep to themselves: it reaches no server's log, and a scanner that
    opens the link uses nothing up.
    """
    url = f"{get_settings().front_url}/account/{page}"
    return url if token is None else f"{url}#token={token}"


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
