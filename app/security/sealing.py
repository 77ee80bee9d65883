"""Texts that wait in the database and have to be read again, sealed under a key of the application's."""

import base64
import hashlib
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from app.extensions import get_settings

_PURPOSE: Final = b"gatehouse seal"


class NotSealedByUs(ValueError):
    """None of the keys in force sealed this text; one that left SECRET_KEY_FALLBACKS may have."""


def seal(text: str) -> str:
    """Return ``text`` encrypted and authenticated under a key derived from ``SECRET_KEY``, in ASCII."""
    return base64.urlsafe_b64encode(_open_boxes()[0].encrypt(text.encode("utf-8", "surrogatepass"))).decode("ascii")


def unseal(sealed: str) -> str:
    """Return what ``seal`` was given, under the key of now or a former one that still counts.

    Raises:
        NotSealedByUs: none of them opens it.
    """
    for box in _open_boxes():
        try:
            return box.decrypt(base64.urlsafe_b64decode(sealed)).decode("utf-8", "surrogatepass")
        except (CryptoError, ValueError):
            continue
    raise NotSealedByUs("no key in SECRET_KEY or SECRET_KEY_FALLBACKS opens this")


def is_sealed_by_current_key(sealed: str) -> bool:
    """Say whether ``SECRET_KEY`` itself opens ``sealed``, not a former key."""
    try:
        _open_boxes()[0].decrypt(base64.urlsafe_b64decode(sealed))
    except (CryptoError, ValueError):
        return False
    return True


def _open_boxes() -> list[SecretBox]:
    settings = get_settings()
    return [SecretBox(_derive(key)) for key in (settings.secret_key, *settings.secret_key_fallbacks)]


def _derive(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=SecretBox.KEY_SIZE, person=_PURPOSE).digest()
