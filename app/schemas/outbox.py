"""The JSON of the outbox."""

from marshmallow import fields, validate

from app.models import MAIL_STATES

from .kinds import Output, PageQuery
from .values import Instant


class OutboxQuery(PageQuery):
    """Which mails."""

    state = fields.String(validate=validate.OneOf(MAIL_STATES))


class OutboxMailOutput(Output):
    """A mail of the outbox; what it says is not told."""

    id = fields.UUID(required=True)
    template = fields.String(required=True)
    recipient = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(MAIL_STATES))
    attempts = fields.Integer(required=True)
    last_error = fields.String(required=True, allow_none=True)
    created_at = Instant(required=True)
    due_at = Instant(required=True)
    finished_at = Instant(required=True, allow_none=True)


class OutboxPageOutput(Output):
    """A page of the outbox."""

    items = fields.List(fields.Nested(OutboxMailOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
