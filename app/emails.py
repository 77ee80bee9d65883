"""E-mail addresses: the one form in which they are stored, compared and written to."""

from __future__ import annotations

import unicodedata
from typing import Final

import email_validator

EMAIL_MAX_LENGTH: Final = 254  # RFC 5321 with erratum 1690
# NFC makes one character of at most so many. Bringing the marks on one letter into order takes the square of their
# number, and nothing else runs meanwhile: so no text is normalized that would be too long afterwards too.
NFC_SHRINKS_BY: Final = 4

# The operator's own mail server may well deliver to .local or .test. The library's documented way is to change its
# list, for the whole process: this is the only module that uses it.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def canonicalize_email(text: str) -> str:
    """Return the canonical form of an address; doing it twice changes nothing more.

    Lower case and NFC, nothing more: folding further would make one account of ``straße@`` and ``strasse@``.

    Raises:
        ValueError: it is no address.
    """
    if len(text) > EMAIL_MAX_LENGTH * NFC_SHRINKS_BY:
        raise ValueError("This is no e-mail address.")
    try:
        address = email_validator.validate_email(text, check_deliverability=False, globally_deliverable=False)
        canonical = unicodedata.normalize("NFC", address.normalized.lower())
        again = email_validator.validate_email(canonical, check_deliverability=False, globally_deliverable=False)
    except (email_validator.EmailNotValidError, UnicodeError) as error:
        raise ValueError("This is no e-mail address.") from error
    # Lower-casing can make an address longer than is allowed, or one that reads differently the second time.
    if len(canonical) > EMAIL_MAX_LENGTH or again.normalized != canonical:
        raise ValueError("This is no e-mail address.")
    return canonical
