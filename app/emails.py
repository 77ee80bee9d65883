"""E-mail addresses: the one form in which they are stored, compared and sent mail."""

import unicodedata
from typing import Final

import email_validator

EMAIL_MAX_LENGTH: Final = 254  # RFC 5321 with erratum 1690
# NFC composes at most this many characters into one. Ordering the marks on one letter takes time that grows with the
# square of their number, under the GIL: so a text that would be too long afterwards is not normalized at all.
NFC_SHRINKS_BY: Final = 4

# The operator's own mail server may well deliver to .local or .test. The library documents this as the way to allow
# them, for the whole process; no other module uses it.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def canonicalize_email(text: str) -> str:
    """Return the canonical form of an e-mail address; a second call would change nothing.

    Lower case and NFC, nothing more: further folding would merge the accounts ``straße@`` and ``strasse@``.

    Raises:
        ValueError: it is not an e-mail address.
    """
    if len(text) > EMAIL_MAX_LENGTH * NFC_SHRINKS_BY:
        raise ValueError("This is not an e-mail address.")
    try:
        address = email_validator.validate_email(text, check_deliverability=False, globally_deliverable=False)
        canonical = unicodedata.normalize("NFC", address.normalized.lower())
        again = email_validator.validate_email(canonical, check_deliverability=False, globally_deliverable=False)
    except (email_validator.EmailNotValidError, UnicodeError) as error:
        raise ValueError("This is not an e-mail address.") from error
    # Lower-casing can make an address longer than is allowed, or one that reads differently the second time.
    if len(canonical) > EMAIL_MAX_LENGTH or again.normalized != canonical:
        raise ValueError("This is not an e-mail address.")
    return canonical


def split_email(canonical: str) -> tuple[str, str]:
    """Return the two parts of a canonical address as mail servers take them: the domain's other scripts as xn--…."""
    local, _, domain = canonical.rpartition("@")
    if not domain.isascii():
        domain = email_validator.validate_email(
            f"x@{domain}", check_deliverability=False, globally_deliverable=False
        ).ascii_domain
    return local, domain
