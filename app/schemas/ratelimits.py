"""The JSON of rate limits."""

from typing import Final

from marshmallow import fields, validate

from app.ratelimit.refusals import MINUTES_KEPT

from .kinds import PAGE_LIMIT, Input, Output
from .values import Instant, Limits, RoleLimits, Text, Whole

RATE_LIMIT_KEY_MAX_LENGTH: Final = 300


class RateLimitChangeInput(Input):
    """Changes to a limit; null removes the limits of a role, and those of roles that are not named stay."""

    limits = Limits()
    roles = RoleLimits()


class RateLimitClearInput(Input):
    """Whose counts to clear."""

    key = Text(
        min_length=3,
        max_length=RATE_LIMIT_KEY_MAX_LENGTH,
        required=True,
        metadata={"description": "KIND:WHO, such as address:203.0.113.7 or account:ada@example.com."},
    )


class RateLimitQuery(Input):
    """How far back, and how many rows."""

    minutes = Whole(validate=validate.Range(min=1, max=MINUTES_KEPT), load_default=5)
    limit = Whole(validate=validate.Range(min=1, max=PAGE_LIMIT), load_default=20)


class RateLimitOutput(Output):
    """A limit: what applies to everybody and to roles, and what the settings say."""

    name = fields.String(required=True)
    limits = fields.String(required=True)
    roles = fields.Dict(keys=fields.String(), values=fields.String(), required=True, attribute="by_role")
    configured = fields.String(required=True)
    changed_at = Instant(required=True, allow_none=True)


class HeldOutput(Output):
    """The units that a window holds."""

    key = fields.String(required=True, attribute="subject")
    limit = fields.String(required=True)
    units = fields.Integer(required=True)


class RefusedOutput(Output):
    """How often a limit refused somebody; an empty key stands for all those who are not listed one by one."""

    key = fields.String(required=True, attribute="subject")
    limit = fields.String(required=True)
    count = fields.Integer(required=True)


class RateLimitListOutput(Output):
    """The limits, the fullest windows, and the refusals of the last minutes, the most frequent first."""

    items = fields.List(fields.Nested(RateLimitOutput), required=True)
    enabled = fields.Boolean(required=True)
    degraded = fields.Boolean(required=True, attribute="is_degraded")
    busiest = fields.List(fields.Nested(HeldOutput), required=True)
    refused = fields.List(fields.Nested(RefusedOutput), required=True)
    minutes = fields.Integer(required=True)
