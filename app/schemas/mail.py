"""The JSON of mailed links and codes."""

from typing import Final

from marshmallow import fields, validate

from app.languages import LANGUAGES
from app.permissions import ROLE_NAME_MAX_LENGTH
from app.security import CODE_DIGITS, CODE_PATTERN

from .kinds import Alternatives, Input, Output
from .proof_of_work import WorkInput
from .values import Email, Flag, Instant, Password, Text, Token

ROLES_MAX: Final = 100


class AddressInput(WorkInput):
    """An e-mail address."""

    email = Email(required=True)


class TokenInput(Input):
    """What a mailed link carries."""

    token = Token(required=True)


class MailSignInProofInput(Alternatives):
    """What was mailed: the link's token, or the code and the address that it was mailed to."""

    ALTERNATIVES = (("token",), ("email", "code"))

    token = Token()
    email = Email()
    code = Text(pattern=CODE_PATTERN, max_length=CODE_DIGITS)
    remember = Flag(load_default=False)


class ReauthenticateInput(Alternatives):
    """The caller's password, or a code that was mailed for it."""

    ALTERNATIVES = (("code",), ("password",))

    code = Text(pattern=CODE_PATTERN, max_length=CODE_DIGITS)
    password = Password()


class InvitationInput(Input):
    """Whom to invite, and the roles to give beyond the one that everybody gets."""

    email = Email(required=True)
    roles = fields.List(
        Text(min_length=1, max_length=ROLE_NAME_MAX_LENGTH),
        validate=validate.Length(max=ROLES_MAX),
        load_default=list,
    )
    language = fields.String(validate=validate.OneOf(LANGUAGES), load_default=None)


class AcceptedOutput(Output):
    """It was taken; whether anything comes of it is told by mail alone."""

    status = fields.String(required=True, validate=validate.OneOf(["accepted"]))


class InvitationOutput(Output):
    """An invitation that nobody has used yet."""

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    roles = fields.List(fields.String(), required=True)
    inviter = fields.UUID(required=True, allow_none=True, attribute="inviter_id")
    created_at = Instant(required=True)
    expires_at = Instant(required=True)


class InvitationPageOutput(Output):
    """A page of invitations."""

    items = fields.List(fields.Nested(InvitationOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class PasswordResetInput(TokenInput):
    """What a mailed link carries, and the new password."""

    new_password = Password(required=True)


class EmailChangeInput(Input):
    """The address that the account is to have."""

    new_email = Email(required=True)


class LinkOutput(Output):
    """A mailed link that still works: what it is for, and for how long."""

    purpose = fields.String(required=True)
    email = fields.String(required=True)
    created_at = Instant(required=True)
    expires_at = Instant(required=True)
