"""Random tokens that whoever presents one is known by; what is stored of them is a hash."""

import hashlib
import secrets
from typing import Final

TOKEN_BYTES: Final = 32


def make_token() -> str:
    """Return a new token of 256 random bits, in characters that stand as they are in cookies and addresses."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return the hash by which a token, or whatever was sent as one, is stored and looked up."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
