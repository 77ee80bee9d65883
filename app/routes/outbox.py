"""The outbox: mails that wait, were sent or were given up."""

import uuid
from typing import Any

from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.schemas import OutboxMailOutput, OutboxPageOutput, OutboxQuery
from app.security import requires
from app.services import mails
from app.services.cursors import InvalidCursor
from app.services.mails import MailNotFound, NotDead

blueprint = Blueprint("outbox", __name__, url_prefix="/api/v1/outbox", description="Mails on their way")


@blueprint.route("")
@blueprint.resource(
    "outbox", title="recipient", columns=("created_at", "recipient", "template", "state", "attempts", "last_error")
)
@blueprint.response(200, OutboxPageOutput)
@blueprint.arguments(OutboxQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("outbox:read")
def list_mails(query: dict[str, Any]) -> Any:
    """List mails that wait, were sent, were given up (dead) or not sent at all (dropped), newest first, page by page.

    What they say is never told. Mails are forgotten some days after they were finished.
    """
    return mails.list_mails(**query)


@blueprint.route("/<uuid:mail_id>/retry", methods=["POST"])
@blueprint.response(200, OutboxMailOutput)
@blueprint.raises(MailNotFound, NotDead)
@requires("outbox:write")
def retry_mail(mail_id: uuid.UUID) -> Any:
    """Send a mail that was given up once more, at once and then for as long as a new one.

    A link in it may have run out meanwhile.
    """
    return mails.retry(mail_id, actor=get_actor())
