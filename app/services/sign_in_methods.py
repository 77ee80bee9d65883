"""Which ways of signing in are switched on."""

from typing import Final

from app.extensions import get_settings
from app.utils import Forbidden

MAIL_LINK: Final = "mail_link"
MAIL_CODE: Final = "mail_code"
PASSWORD: Final = "password"  # noqa: S105 - the method's name


class SignInMethodOff(Forbidden):
    """This way of signing in is switched off."""

    title = "Way of signing in off"
    detail = "This way of signing in is switched off here. Use another; the operator lists them in SIGN_IN_METHODS."


# --- for the other services ---


def refuse_unless_on(*methods: str) -> None:
    """Refuse to go on where all of these methods are switched off.

    Raises:
        SignInMethodOff: they are.
    """
    if not set(methods) & set(get_settings().sign_in_methods):
        raise SignInMethodOff
