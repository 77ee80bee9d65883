"""Challenges, and the bodies that hold their solutions."""

from typing import Final

from marshmallow import fields

from .kinds import Input, Output
from .values import Text

SOLUTION_MAX_LENGTH: Final = 4096


class WorkInput(Input):
    """A body of a call that can ask for a proof of work; ``requires_work`` takes the field out of it."""

    proof_of_work = Text(
        max_length=SOLUTION_MAX_LENGTH,
        load_default=None,
        metadata={
            "description": "The solution of a challenge of GET /api/v1/auth/proof-of-work, as ALTCHA encodes it;"
            " needed where the answer would be proof_of_work_required."
        },
    )


class ChallengeParametersOutput(Output):
    """What to compute: the first counter from 0 whose key begins with ``keyPrefix``."""

    algorithm = fields.String(required=True)
    nonce = fields.String(required=True)
    salt = fields.String(required=True)
    cost = fields.Integer(required=True)
    keyLength = fields.Integer(required=True)  # noqa: N815 - the protocol's names, here and below
    keyPrefix = fields.String(required=True)  # noqa: N815
    keySignature = fields.String(required=True)  # noqa: N815
    expiresAt = fields.Integer(required=True, metadata={"description": "Seconds since 1970 (UTC)."})  # noqa: N815


class ChallengeOutput(Output):
    """A challenge of ALTCHA's protocol, version 2."""

    parameters = fields.Nested(ChallengeParametersOutput, required=True)
    signature = fields.String(required=True)
