"""Proofs of work: what a caller's machine computes before a request that anybody can make (ALTCHA's protocol, v2)."""

import datetime
import functools
import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar

import altcha

from app.clock import now
from app.extensions import get_settings, limiter
from app.ratelimit import By, Charge, Decision, Engine, Fallback, Plan, compile_plan
from app.ratelimit.rules import Rule
from app.utils import Forbidden, InvalidInput

from .signatures import CLOCK_SKEW_SECONDS

View = TypeVar("View", bound="Callable[..., Any]")

FIELD: Final = "proof_of_work"
# Browsers compute it natively. Many iterations a key: what a browser takes beside them to call for a key is no gain of
# those who compute without one.
ALGORITHM: Final = "PBKDF2/SHA-256"
ITERATIONS: Final = 5000
_PURPOSE: Final = b"gatehouse work"
_WITHOUT_PROOF: Final = Rule("RATELIMIT_PROOF_OF_WORK", (By("callers", lambda: "all"),))


class ProofOfWorkRequired(Forbidden):
    """This takes a proof of work; none was given, or one that is wrong, too old or used already."""

    detail = (
        "Get a challenge (GET /api/v1/auth/proof-of-work), solve it, and repeat this with the solution in"
        " proof_of_work; a solution works once, and for some minutes."
    )


def requires_work(view: View) -> View:
    """Have callers of ``view`` prove that they have computed something, where ``PROOF_OF_WORK`` says so.

    Put it right above ``@public``, below ``@blueprint.arguments`` with a schema that inherits from ``WorkInput``, and
    name ``ProofOfWorkRequired`` in ``@blueprint.raises``. What is not taken for its fields, a weak password included,
    uses no solution up. The view is called without the field.

    Raises:
        ProofOfWorkRequired: from the view it returns.
    """

    @functools.wraps(view)
    def call(body: dict[str, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the view's own
        solution, engine = body.pop(FIELD), limiter.engine
        mode = get_settings().proof_of_work
        # Without limits nothing would remember what was used; the settings are refused with any other mode then.
        if mode == "off" or engine is None:
            return view(body, *args, **kwargs)
        decision = _admit(engine, solution, is_always=mode == "on")
        try:
            return view(body, *args, **kwargs)
        except InvalidInput:
            engine.refund(decision)
            raise

    return call  # type: ignore[return-value] # with the view's own parameters


def make_challenge() -> dict[str, Any]:
    """Return a new challenge in ALTCHA's form, signed under a key of the application's; nothing is stored."""
    settings = get_settings()
    keys_to_try = settings.proof_of_work_cost
    secret, key_secret = _derive_secrets(settings.secret_key)
    challenge = altcha.create_challenge(
        ALGORITHM,
        ITERATIONS,
        # How long a solution takes varies by a half, and not as luck would have it.
        counter=keys_to_try // 2 + secrets.randbelow(keys_to_try),
        expires_at=now() + datetime.timedelta(seconds=settings.proof_of_work_lifetime),
        hmac_secret=secret,
        hmac_key_secret=key_secret,
    )
    return challenge.to_dict()


def _admit(engine: Engine, solution: str | None, *, is_always: bool) -> Decision:
    """Return what the request was charged: a place among those without a proof, or the use of its solution.

    Raises:
        ProofOfWorkRequired: there is no place, and no solution that counts.
    """
    if not is_always and limiter.policy is not None:
        prepared = limiter.policy.prepare(_WITHOUT_PROOF, FIELD)
        decision = engine.decide(*limiter.policy.make_charges(prepared, lambda: None))
        if decision.is_admitted:
            return decision
    nonce = _find_solved(solution) if solution else None
    if nonce is None:
        raise ProofOfWorkRequired
    # The name of what was solved, not of how its solution is written, which has many forms.
    use = engine.decide(Charge(_compile_uses(get_settings().proof_of_work_lifetime), f"work:{nonce}"))
    if not use.is_admitted:
        raise ProofOfWorkRequired
    return use


def _find_solved(solution: str) -> str | None:
    """Return the nonce of the challenge that ``solution`` solves; None if that is none of ours, or too old."""
    try:
        payload = altcha.Payload.from_base64(solution)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    settings = get_settings()
    for key in (settings.secret_key, *settings.secret_key_fallbacks):
        secret, key_secret = _derive_secrets(key)
        if altcha.verify_solution(payload, secret, hmac_key_secret=key_secret).verified:
            parameters = payload.challenge.parameters
            # The library asks the machine's clock.
            is_current = (parameters.expires_at or 0) > now().timestamp()
            return parameters.nonce if is_current else None
    return None


@functools.lru_cache(maxsize=4)
def _compile_uses(lifetime_seconds: int) -> Plan:
    """Return the limit of one use, for as long as a solution counts on any host.

    While the store is away each process remembers by itself, whatever other limits do then: nobody is refused for that,
    and a solution works once in each at most.
    """
    seconds = lifetime_seconds + CLOCK_SKEW_SECONDS
    return compile_plan(f"1/{seconds} seconds", scope="proof-of-work-use", fallback=Fallback.LOCAL, is_strict=True)


def _derive_secrets(key: str) -> tuple[bytes, bytes]:
    """Return what signs challenges, and the keys that solve them."""
    digest = hashlib.blake2b(key.encode(), digest_size=64, person=_PURPOSE).digest()
    return digest[:32], digest[32:]
