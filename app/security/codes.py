"""Six-digit codes that people type: too short to be hashed without a key, as all of them are tried in a second."""

import hashlib
import hmac
import secrets
from typing import Final

from flask import current_app

from .sessions import list_signing_keys

CODE_DIGITS: Final = 6
CODE_PATTERN: Final = f"^[0-9]{{{CODE_DIGITS}}}$"
_PURPOSE: Final = "gatehouse code"


def make_code() -> str:
    """Return a new code."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"


def hash_code(code: str, *, about: str) -> str:
    """Return what to store of a code: an HMAC under ``SECRET_KEY`` over it and ``about``, which says what it is for."""
    return _hash(code, about, list_signing_keys(current_app)[0])


def is_code(code: str, code_hash: str, *, about: str) -> bool:
    """Say whether ``code_hash`` was made of ``code`` for the same purpose, under the key of now or a former one."""
    return any(hmac.compare_digest(_hash(code, about, key), code_hash) for key in list_signing_keys(current_app))


def _hash(code: str, about: str, key: str) -> str:
    message = f"{_PURPOSE}\0{about}\0{code}"
    return hmac.new(key.encode(), message.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
