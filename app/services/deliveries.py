"""Deliveries: what a claimed mail shows is made, rendered and sent, and what became of it is noted."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Final, cast

from app.database import DatabaseUnavailable
from app.extensions import get_settings, retried, transaction
from app.languages import DEFAULT_LANGUAGE
from app.mail import MailRefused, MailUnavailable, Transport, make_sender, make_site, render
from app.models import DEAD, DROPPED, SENT, WAITING
from app.security import NotSealedByUs

from . import email_changes, invitations, mail_sign_in, notices, outbox, recovery, registrations
from .outbox import ClaimedMail, Prepared, QueuedMail

logger = logging.getLogger(__name__)

HOUR_SECONDS: Final = 3600

PREPARATIONS: Final[Mapping[str, Callable[[QueuedMail], Prepared | None]]] = {
    "change_email": email_changes.prepare_change_email,
    "invitation": invitations.prepare_invitation,
    "new_device": notices.prepare_new_device,
    "reauthentication_code": mail_sign_in.prepare_reauthentication,
    "reset_password": recovery.prepare_reset_password,
    "set_password": recovery.prepare_reset_password,
    "sign_in_code": mail_sign_in.prepare_sign_in,
    "sign_in_link": mail_sign_in.prepare_sign_in,
    "verify_email": registrations.prepare_verify_email,
    "verify_registration": registrations.prepare_verify_registration,
}
"""What looks up who is to get a template and makes its links; the others show what was queued."""

COUNTED: Final = frozenset(
    {
        "change_email",
        "reauthentication_code",
        "reset_password",
        "sign_in_code",
        "sign_in_link",
        "verify_email",
        "verify_registration",
    }
)
"""The templates that strangers can ask for: in an hour, one address gets ``MAILS_PER_HOUR`` of each.

Of each, so that whoever asks for the one keeps nobody from the other: the newest that did arrive stays of use.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of trying to send a mail: the state that it should have, and why it was not sent.

    ``is_server_away`` says that no other mail could have been sent either.
    """

    state: str
    error: str | None = None
    is_server_away: bool = False


class _LeaseEnded(Exception):
    """Somebody else has the mail meanwhile."""


class _Dropped(Exception):
    """There is nothing to send; the text says why."""


def send(mail: ClaimedMail, transport: Transport) -> Outcome | None:
    """Try to send a mail that was claimed, outside of any transaction; None: somebody else has it meanwhile.

    Raises:
        DatabaseUnavailable: nothing was sent; the mail is due again when its lease ends.
    """
    outcome: Outcome | None = Outcome(SENT)
    try:
        transport.send(_render(mail))
    except _LeaseEnded:
        outcome = None
    except _Dropped as reason:
        outcome = Outcome(DROPPED, str(reason))
    except NotSealedByUs:
        outcome = Outcome(DEAD, outbox.UNREADABLE)
    except MailRefused as error:
        outcome = Outcome(DEAD, str(error))
    except MailUnavailable as error:
        outcome = Outcome(WAITING, str(error), is_server_away=error.is_server_away)
    except DatabaseUnavailable:
        raise
    except Exception as error:
        # Not its text, which may hold what the mail says.
        logger.exception("a mail could not be made", extra={"template": mail.template, "mail_id": str(mail.id)})
        outcome = Outcome(WAITING, f"This is a bug: {type(error).__name__}. The log shows where.")
    return outcome


@retried
def note(mail: ClaimedMail, outcome: Outcome) -> str | None:
    """Note what came of trying to send a mail and return its state; None: somebody else has it meanwhile.

    Done again it changes nothing more, so that it can be repeated until the database has answered.
    """
    if outcome.state == WAITING:
        return outbox.put_off(mail, error=outcome.error or "")
    return outcome.state if outbox.finish(mail, outcome.state, error=outcome.error) else None


def _render(mail: ClaimedMail) -> EmailMessage:
    """Return the mail, its links made if that was not done before."""
    if not mail.is_prepared and mail.template in {*PREPARATIONS, *COUNTED}:
        mail = _prepare(mail)
    settings = get_settings()
    shown = outbox.read_context(mail)
    return render(
        shown.template or mail.template,
        language=mail.language or DEFAULT_LANGUAGE,
        recipient=mail.recipient,
        message_id=str(mail.id),
        sent_from=make_sender(settings),
        site=make_site(settings),
        context=shown.context,
    )


@retried
def _prepare(mail: ClaimedMail) -> ClaimedMail:
    """Have the links of a mail made and stored with it, or drop it.

    Raises:
        _Dropped: there is nobody to mail, or they had enough of this kind.
        _LeaseEnded: somebody else has it.
    """
    with transaction():
        if not outbox.lock_mail(mail):
            raise _LeaseEnded
        queued = outbox.read_context(mail)
        reason = _find_reason_to_drop(mail)
        if reason is None:
            prepare = PREPARATIONS.get(mail.template)
            prepared = queued if prepare is None else prepare(_describe(mail, queued))
            if prepared is not None:
                return outbox.store_prepared(mail, prepared)
            reason = "There is nobody to send it to, or nothing left to say."
        elif mail.template == "verify_registration":
            described = _describe(mail, queued)
            registrations.dispute_registration(mail.recipient, described.context.get("browser_hash"))
    # What was noted with it stays.
    raise _Dropped(reason)


def _find_reason_to_drop(mail: ClaimedMail) -> str | None:
    """Say why a mail is not made, if it is not; before a token is, so that the newest link that did arrive works."""
    if mail.template not in COUNTED:
        return None
    if outbox.has_newer(mail):
        return "A newer one is on its way."
    most = get_settings().mails_per_hour
    if outbox.count_earlier(mail, seconds=HOUR_SECONDS) >= most:
        return f"{most} such mails went to this address in the hour before (MAILS_PER_HOUR)."
    return None


def _describe(mail: ClaimedMail, queued: Prepared) -> QueuedMail:
    context = cast("Mapping[str, str | None]", queued.context)
    return QueuedMail(mail.id, mail.recipient, mail.language, mail.created_at, context)
