"""Proofs of work as fronts send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altcha

from gatehouse.testing.factories import PASSWORD

if TYPE_CHECKING:
    from gatehouse.testing.factories import Browser

CHALLENGE = "/api/v1/auth/proof-of-work"
REGISTER = "/api/v1/auth/register"
ON = {
    "RATELIMIT_ENABLED": "true",
    "RATELIMIT_REGISTER": "1000/minute",
    "PROOF_OF_WORK": "on",
    "PROOF_OF_WORK_COST": "2",
}


def solve(browser: Browser) -> str:
    """Return a solution as a browser with the public widget would send it."""
    answer = browser.get(CHALLENGE)
    assert answer.status_code == 200
    challenge = altcha.Challenge.from_dict(answer.get_json())
    found = altcha.solve_challenge(challenge)
    assert found is not None
    return altcha.Payload(challenge, found).to_base64()


def register(browser: Browser, solution: object = None, *, name: str = "ada", **fields: str) -> Any:
    body = {"email": f"{name}@example.com", "password": PASSWORD, "proof_of_work": solution}
    return browser.post(REGISTER, body | fields)


def assert_asked(answer: Any) -> None:
    assert (answer.status_code, answer.get_json()["code"]) == (403, "proof_of_work_required")
    assert CHALLENGE in answer.get_json()["detail"]
