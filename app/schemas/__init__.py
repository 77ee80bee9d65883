"""The JSON of requests and answers."""

from typing import Any, Final

import marshmallow as ma
from flask_login import current_user
from marshmallow import fields, validate

from app.extensions import get_extensions
from app.languages import LANGUAGES
from app.models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH
from app.permissions import ROLE_NAME_MAX_LENGTH, ROLE_NAME_PATTERN

from .kinds import PAGE_LIMIT, Changes, Input, Output, PageQuery
from .mail import (
    AcceptedOutput,
    AddressInput,
    EmailChangeInput,
    InvitationInput,
    InvitationOutput,
    InvitationPageOutput,
    LinkOutput,
    MailSignInProofInput,
    PasswordResetInput,
    ReauthenticateInput,
    TokenInput,
)
from .outbox import OutboxMailOutput, OutboxPageOutput, OutboxQuery
from .proof_of_work import ChallengeOutput, WorkInput
from .ratelimits import (
    HeldOutput,
    RateLimitChangeInput,
    RateLimitClearInput,
    RateLimitListOutput,
    RateLimitOutput,
    RateLimitQuery,
    RefusedOutput,
)
from .values import Email, Flag, Instant, Password, Permissions, Text, Token

USER_SORTS: Final = ("-created_at", "-email", "-name", "created_at", "email", "name")


# --- requests ---


class RegisterInput(WorkInput):
    """A new account."""

    email = Email(required=True)
    password = Password(load_default=None)  # where one signs in by mail alone
    name = Text(max_length=NAME_MAX_LENGTH, load_default="")
    language = fields.String(validate=validate.OneOf(LANGUAGES), load_default=None)
    invitation = Token()


class LoginInput(Input):
    """An e-mail address and the account's password."""

    email = Email(required=True)
    password = Password(required=True)
    remember = Flag(load_default=False)


class PasswordChangeInput(Input):
    """The caller's password, and the new one."""

    current_password = Password(required=True)
    new_password = Password(required=True)


class ProfileInput(Input):
    """What callers may change about themselves."""

    name = Text(max_length=NAME_MAX_LENGTH)
    language = fields.String(validate=validate.OneOf(LANGUAGES), allow_none=True)


class UserCreateInput(Input):
    """A new account for somebody else; without a password, nobody can sign in to it yet."""

    email = Email(required=True)
    password = Password(load_default=None)
    name = Text(max_length=NAME_MAX_LENGTH, load_default="")


class UserUpdateInput(Input):
    """What administrators may change about a user."""

    name = Text(max_length=NAME_MAX_LENGTH)
    is_active = Flag()
    password_change_required = Flag(attribute="is_password_change_required")


class RoleCreateInput(Input):
    """A new role."""

    name = Text(min_length=1, max_length=ROLE_NAME_MAX_LENGTH, pattern=ROLE_NAME_PATTERN, required=True)
    description = Text(max_length=DESCRIPTION_MAX_LENGTH, load_default="")
    permissions = Permissions(load_default=list)


class RoleUpdateInput(Input):
    """Changes to a role; ``permissions`` replaces all that it had."""

    description = Text(max_length=DESCRIPTION_MAX_LENGTH)
    permissions = Permissions()


class UserQuery(PageQuery):
    """Which users, and in which order."""

    q = Text(
        max_length=NAME_MAX_LENGTH,
        metadata={"description": "Beginnings of words of the name or the e-mail address."},
    )
    role = Text(max_length=ROLE_NAME_MAX_LENGTH)
    is_active = fields.Boolean(truthy={"true"}, falsy={"false"})
    sort = fields.String(validate=validate.OneOf(USER_SORTS), load_default="created_at")


class AuditQuery(PageQuery):
    """Which entries of the audit trail."""

    actor = fields.UUID()
    target = Text(max_length=ROLE_NAME_MAX_LENGTH)
    action = Text(max_length=ROLE_NAME_MAX_LENGTH)
    since = Instant()
    until = Instant()


# --- answers ---


class CsrfOutput(Output):
    """A CSRF token."""

    csrf_token = fields.String(required=True)


class UserOutput(Output):
    """A user."""

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    language = fields.String(required=True, allow_none=True)
    is_active = fields.Boolean(required=True)
    email_verified_at = Instant(required=True, allow_none=True)
    password_change_required = fields.Boolean(required=True, attribute="is_password_change_required")
    deletion_due_at = Instant(required=True, allow_none=True)
    mfa_enabled = fields.Boolean(required=True, attribute="is_mfa_enabled")
    roles = fields.List(fields.String(), required=True, attribute="role_names")
    created_at = Instant(required=True)
    updated_at = Instant(required=True)
    last_login_at = Instant(required=True, allow_none=True)
    extensions = fields.Dict(
        keys=fields.String(),
        metadata={"description": "What extensions add, by their names; null where one cannot say."},
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Of all users at once, not of one after the other.
        self._members = [member for member in self._members if member[0] != "extensions"]
        self._is_extended = "extensions" in self.dump_fields

    def _serialize(self, obj: Any, *, many: bool = False) -> Any:
        """Ask each extension that says something about users once, for all of them."""
        users = list(obj) if many else [obj]
        serialize = super()._serialize
        dumped = [serialize(user) for user in users]
        described = get_extensions().describe_users([user.id for user in users]) if self._is_extended else None
        if described is not None:
            for user, extensions in zip(dumped, described, strict=True):
                user["extensions"] = extensions
        return dumped if many else dumped[0]


class OwnUserOutput(UserOutput):
    """The caller, with their permissions."""

    permissions = fields.Function(
        lambda user: sorted(user.permissions),
        required=True,
        metadata={"type": "array", "items": {"type": "string"}},
    )


class SignInOutput(Output):
    """Who signed in, and the new session's CSRF token."""

    user = fields.Nested(OwnUserOutput, required=True)
    csrf_token = fields.String(required=True)


class SessionOutput(Output):
    """A session."""

    id = fields.UUID(required=True)
    ip = fields.String(required=True)
    user_agent = fields.String(required=True)
    created_at = Instant(required=True)
    last_seen_at = Instant(required=True)
    current = fields.Function(
        lambda session: session.id == current_user.session.id,
        required=True,
        metadata={"type": "boolean"},
    )


class RoleOutput(Output):
    """A role."""

    name = fields.String(required=True)
    description = fields.String(required=True)
    permissions = fields.Function(
        lambda role: sorted(role.permissions),
        required=True,
        metadata={"type": "array", "items": {"type": "string"}},
    )
    built_in = fields.Boolean(required=True, attribute="is_built_in")
    created_at = Instant(required=True)
    updated_at = Instant(required=True)


class PermissionOutput(Output):
    """A permission."""

    name = fields.String(required=True)
    description = fields.String(required=True)


class AuditEntryOutput(Output):
    """An entry of the audit trail."""

    id = fields.UUID(required=True)
    created_at = Instant(required=True)
    action = fields.String(required=True)
    actor = fields.UUID(required=True, allow_none=True, attribute="actor_id")
    target = fields.String(required=True, allow_none=True)
    ip = fields.String(required=True, allow_none=True)
    details = fields.Dict(required=True)


class UserPageOutput(Output):
    """A page of users."""

    items = fields.List(fields.Nested(UserOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class AuditPageOutput(Output):
    """A page of the audit trail."""

    items = fields.List(fields.Nested(AuditEntryOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class SessionListOutput(Output):
    """All sessions of a user."""

    items = fields.List(fields.Nested(SessionOutput), required=True)


class RoleListOutput(Output):
    """All roles."""

    items = fields.List(fields.Nested(RoleOutput), required=True)


class PermissionListOutput(Output):
    """All permissions."""

    items = fields.List(fields.Nested(PermissionOutput), required=True)


class LiveOutput(Output):
    """The process is running."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))


class ChecksOutput(Output):
    """The state of each part."""

    database = fields.String(required=True, validate=validate.OneOf(["ok", "read_only", "file_gone", "away"]))
    ratelimit = fields.String(required=True, validate=validate.OneOf(["ok", "degraded"]))
    mail = fields.String(
        required=True,
        validate=validate.OneOf(["ok", "degraded"]),
        metadata={"description": "Degraded while mail waits for minutes: nothing sends it, or no server takes it."},
    )
    extensions = fields.Dict(
        keys=fields.String(),
        values=fields.String(validate=validate.OneOf(["ok", "failing"])),
        metadata={"description": "The state of each extension, where there are any."},
    )

    @ma.post_dump
    def _leave_out_none(self, checks: dict[str, Any], **_options: Any) -> dict[str, Any]:
        if not checks["extensions"]:
            del checks["extensions"]
        return checks


class ReadyOutput(Output):
    """Whether requests can be answered, and the state of each part."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "degraded"]))
    checks = fields.Nested(ChecksOutput, required=True)


class ExportOutput(Output):
    """Everything stored about the caller."""

    user = fields.Nested(OwnUserOutput, required=True)
    sessions = fields.List(fields.Nested(SessionOutput), required=True)
    mails = fields.List(fields.Nested(OutboxMailOutput), required=True)
    links = fields.List(fields.Nested(LinkOutput), required=True)
    invitations = fields.List(fields.Nested(InvitationOutput), required=True)
    extensions = fields.Dict(
        keys=fields.String(),
        required=True,
        metadata={"description": "What extensions store about the caller, by their names."},
    )
    left_out = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Extensions and tables that may hold more about the caller, and are not in here."},
    )
    audit = fields.List(fields.Nested(AuditEntryOutput), required=True)


class MessageCodeOutput(Output):
    """What a message says: a stable word, and beside it what its words need, such as `max`."""

    class Meta:
        """The other members depend on the code."""

        unknown = ma.INCLUDE

    code = fields.String(required=True, metadata={"example": "too_long"})


class ProblemOutput(Output):
    """An error (RFC 9457)."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    code = fields.String(required=True, metadata={"description": "A stable word for programs."})
    request_id = fields.String(required=True, allow_none=True)
    errors = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), metadata={"description": "For bad input: by field."}
    )
    error_codes = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.Nested(MessageCodeOutput)),
        metadata={"description": "Beside `errors`: what each message says, for words in any language."},
    )
    checks = fields.Nested(ChecksOutput, metadata={"description": "For `not_ready`: the state of each part."})
