"""The JSON of mailed links and codes."""

from marshmallow import fields, validate

from .kinds import Input, Output
from .values import Email, Token


class AddressInput(Input):
    """An e-mail address."""

    email = Email(required=True)


class TokenInput(Input):
    """What a mailed link carries."""

    token = Token(required=True)


class AcceptedOutput(Output):
    """It was taken; whether anything comes of it is told by mail alone."""

    status = fields.String(required=True, validate=validate.OneOf(["accepted"]))
