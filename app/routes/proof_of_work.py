"""The challenges of proofs of work."""

from typing import Any

from app.http.openapi import Blueprint
from app.schemas import ChallengeOutput
from app.security import make_challenge, public

blueprint = Blueprint("proof_of_work", __name__, url_prefix="/api/v1/auth", description="Proofs of work")


@blueprint.route("/proof-of-work")
@blueprint.response(200, ChallengeOutput)
@public
def get_challenge() -> dict[str, Any]:
    """Get a challenge in ALTCHA's form; its solution goes into `proof_of_work` of calls that ask for one."""
    return make_challenge()
