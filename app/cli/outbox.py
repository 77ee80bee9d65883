"""``outbox``: mails that wait, were sent or were given up."""

import uuid
from typing import Any, Final

import click

from app.models import DEAD, MAIL_STATES
from app.schemas import PAGE_LIMIT, OutboxMailOutput
from app.security import Actor
from app.services import mails
from app.services.mails import MailNotFound, NotDead

from .terminal import Failure, OperatorGroup, Report, make_table, note

LIST_MAX: Final = 100_000

outbox_group = OperatorGroup("outbox", help="Show mails that wait or were given up, and send the latter again.")


@outbox_group.command("list")
@click.option("--state", type=click.Choice(MAIL_STATES), help="Only those in this state; dead were given up.")
@click.option("--limit", type=click.IntRange(1, LIST_MAX), default=50, show_default=True, help="At most this many.")
def list_(state: str | None, limit: int) -> Report:
    """List mails, newest first; what they say is not shown."""
    found, has_more = _find(state, limit)
    rows = [
        (
            str(each.id),
            f"{each.created_at:%Y-%m-%d %H:%M:%S}",
            each.recipient,
            each.template,
            each.state,
            str(each.attempts),
            each.last_error or "",
        )
        for each in found
    ]
    if has_more:
        note(f"There are more than {limit}. Ask for more with --limit.")
    data = {"items": [OutboxMailOutput().dump(each) for each in found], "has_more": has_more}
    header = ("ID", "QUEUED", "RECIPIENT", "TEMPLATE", "STATE", "ATTEMPTS", "LAST ERROR")
    return Report(data, make_table(header, rows))


@outbox_group.command("retry")
@click.argument("mail_id", metavar="ID", type=click.UUID, required=False)
@click.option("--all", "are_all", is_flag=True, help="Every mail that was given up.")
def retry(mail_id: uuid.UUID | None, *, are_all: bool) -> Report:
    """Send a mail again that was given up, or all of them; links in them may have run out."""
    if (mail_id is None) is not are_all:
        raise Failure("Name the ID of one mail, or give --all.")
    if mail_id is not None:
        mails.retry(mail_id, actor=Actor.system())
        retried = [mail_id]
    else:
        retried = [each.id for each in _find(DEAD, LIST_MAX)[0] if _is_retried(each.id)]
    data = {"retried": [str(each) for each in retried]}
    return Report(data, [f"Waiting to be sent again: {len(retried)}."])


def _is_retried(mail_id: uuid.UUID) -> bool:
    """Retry a mail, unless somebody else just did."""
    try:
        mails.retry(mail_id, actor=Actor.system())
    except (MailNotFound, NotDead):
        return False
    return True


def _find(state: str | None, limit: int) -> tuple[list[Any], bool]:
    """Return the newest mails, and whether there are more."""
    found: list[Any] = []
    cursor = None
    while len(found) < limit:
        page = mails.list_mails(limit=min(PAGE_LIMIT, limit - len(found)), state=state, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return found, cursor is not None
