"""The JSON we take and give."""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import Any, Final

import marshmallow as ma
from flask_login import current_user
from marshmallow import ValidationError, fields, validate

from .emails import EMAIL_MAX_LENGTH, canonicalize_email
from .models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH
from .permissions import PERMISSIONS, ROLE_NAME_MAX_LENGTH, ROLE_NAME_PATTERN
from .security import PASSWORD_MAX_LENGTH

USER_SORTS: Final = ("-created_at", "-email", "-name", "created_at", "email", "name")
PAGE_LIMIT: Final = 200
PAGE_DEFAULT: Final = 50
CURSOR_MAX_LENGTH: Final = 1500

# Control characters, line and paragraph separators, and the marks that reverse the direction of what follows: they
# have no place on one line of text, and are how one name is made to look like another.
LINE_PATTERN: Final = "^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
NO_CONTROLS_PATTERN: Final = "^[^\u0000-\u001f\u007f-\u009f]*$"


class Text(fields.String):
    """One line of text, without control characters or halves of surrogate pairs, in Unicode's NFC form."""

    def __init__(
        self,
        *,
        max_length: int,
        min_length: int = 0,
        pattern: str = LINE_PATTERN,
        **kwargs: Any,
    ) -> None:
        metadata = {"pattern": pattern} | kwargs.pop("metadata", {})
        super().__init__(validate=validate.Length(min=min_length or None, max=max_length), metadata=metadata, **kwargs)
        # Python's $ also matches before a final line feed; JSON Schema's does not.
        self._pattern = re.compile(pattern.removesuffix("$") + r"\Z")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValidationError("This is no valid Unicode text.")
        if not self._pattern.match(text):
            raise ValidationError("This holds characters that are not allowed here.")
        return self._normalize(text)

    def _normalize(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)


class Password(Text):
    """A password as it was typed; it is normalised when it is hashed."""

    def __init__(self, *, min_length: int = 1, **kwargs: Any) -> None:
        metadata = {"format": "password"} | kwargs.pop("metadata", {})
        super().__init__(
            min_length=min_length,
            max_length=PASSWORD_MAX_LENGTH,
            pattern=NO_CONTROLS_PATTERN,
            load_only=True,
            metadata=metadata,
            **kwargs,
        )

    def _normalize(self, text: str) -> str:
        return text


class Email(Text):
    """An e-mail address, in the one form in which it is stored."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=3, max_length=EMAIL_MAX_LENGTH, metadata={"format": "email"}, **kwargs)

    def _normalize(self, text: str) -> str:
        try:
            return canonicalize_email(text)
        except ValueError as error:
            raise ValidationError(str(error)) from error


class Whole(fields.Integer):
    """A whole number of a query, in plain digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        # int() would take " 1_0 " and other scripts' digits too, and as many as there are.
        if not re.fullmatch(r"-?[0-9]{1,9}", str(value)):
            raise self.make_error("invalid", input=value)
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class Flag(fields.Boolean):
    """True or false, and nothing that could pass for it: in Python 1 is in {True}."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs) is True


class Instant(fields.AwareDateTime):
    """A time as RFC 3339 in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime.datetime:
        instant: datetime.datetime = super()._deserialize(value, attr, data, **kwargs)
        try:
            return instant.astimezone(datetime.UTC)
        except OverflowError as error:  # the first or last hours that there are, in another time zone
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        text = super()._serialize(value, attr, obj, **kwargs)
        return None if text is None else str(text).replace("+00:00", "Z")


class Input(ma.Schema):
    """A body or a query; unknown fields are refused."""

    class Meta:
        """Unknown fields are refused, so that a misspelt or forbidden one is not lost in silence."""

        unknown = ma.RAISE


class Output(ma.Schema):
    """An answer; every field is always there."""


def _permission_list(**kwargs: Any) -> fields.List[Any]:
    names = fields.String(validate=validate.OneOf(sorted(PERMISSIONS)))
    return fields.List(names, validate=validate.Length(max=len(PERMISSIONS)), **kwargs)


# --- what we take ---


class RegisterInput(Input):
    """A new account."""

    email = Email(required=True)
    password = Password(required=True)
    name = Text(max_length=NAME_MAX_LENGTH, load_default="")


class LoginInput(Input):
    """An address and its password."""

    email = Email(required=True)
    password = Password(required=True)
    remember = Flag(load_default=False)


class ReauthenticateInput(Input):
    """The caller's password."""

    password = Password(required=True)


class PasswordChangeInput(Input):
    """The caller's password, and the one to replace it."""

    current_password = Password(required=True)
    new_password = Password(required=True)


class ProfileInput(Input):
    """What people change about themselves."""

    name = Text(max_length=NAME_MAX_LENGTH)


class UserCreateInput(Input):
    """A new account for somebody else; without a password nobody can sign in to it yet."""

    email = Email(required=True)
    password = Password(load_default=None)
    name = Text(max_length=NAME_MAX_LENGTH, load_default="")


class UserUpdateInput(Input):
    """What administrators change about somebody."""

    name = Text(max_length=NAME_MAX_LENGTH)
    is_active = Flag()


class RoleCreateInput(Input):
    """A new role."""

    name = Text(min_length=1, max_length=ROLE_NAME_MAX_LENGTH, pattern=ROLE_NAME_PATTERN, required=True)
    description = Text(max_length=DESCRIPTION_MAX_LENGTH, load_default="")
    permissions = _permission_list(load_default=list)


class RoleUpdateInput(Input):
    """What changes about a role; ``permissions`` replaces all it had."""

    description = Text(max_length=DESCRIPTION_MAX_LENGTH)
    permissions = _permission_list()


class PageQuery(Input):
    """Which page of a list."""

    limit = Whole(
        validate=validate.Range(min=1, max=PAGE_LIMIT),
        load_default=PAGE_DEFAULT,
    )
    cursor = Text(max_length=CURSOR_MAX_LENGTH, metadata={"description": "next_cursor of the page before."})


class UserQuery(PageQuery):
    """Which users, and in which order."""

    q = Text(
        max_length=NAME_MAX_LENGTH,
        metadata={"description": "Beginnings of words of name or address."},
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


# --- what we give ---


class CsrfOutput(Output):
    """A CSRF token."""

    csrf_token = fields.String(required=True)


class UserOutput(Output):
    """A user."""

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    is_active = fields.Boolean(required=True)
    email_verified_at = Instant(required=True, allow_none=True)
    mfa_enabled = fields.Boolean(required=True, attribute="is_mfa_enabled")
    roles = fields.List(fields.String(), required=True, attribute="role_names")
    created_at = Instant(required=True)
    updated_at = Instant(required=True)
    last_login_at = Instant(required=True, allow_none=True)


class OwnUserOutput(UserOutput):
    """The caller, with what they may do."""

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
    """Something that somebody did."""

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
    """That the process runs."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))


class ChecksOutput(Output):
    """The state of each part."""

    database = fields.String(required=True, validate=validate.OneOf(["ok", "read_only", "away"]))
    ratelimit = fields.String(required=True, validate=validate.OneOf(["ok", "degraded"]))


class ReadyOutput(Output):
    """Whether requests can be answered, and the state of each part."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "degraded"]))
    checks = fields.Nested(ChecksOutput, required=True)


class ExportOutput(Output):
    """Everything stored about the caller."""

    user = fields.Nested(OwnUserOutput, required=True)
    sessions = fields.List(fields.Nested(SessionOutput), required=True)
    audit = fields.List(fields.Nested(AuditEntryOutput), required=True)


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
