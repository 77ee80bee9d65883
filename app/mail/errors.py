"""What can become of a delivery; the text is one line, for the outbox and for an operator."""

import re

from app.utils import escape_controls

ERROR_MAX_LENGTH = 300


class MailError(Exception):
    """A mail was not delivered."""

    def __init__(self, text: str) -> None:
        # What a server replies may quote the link that it does not like: what follows # is the secret.
        super().__init__(escape_controls(re.sub(r"#\S+", "#…", text))[:ERROR_MAX_LENGTH])


class MailUnavailable(MailError):
    """The server cannot take the mail now, or something is wrong that an operator can set right: try again.

    Unless ``is_server_away``, it is this mail that was not taken, and others may be.
    """

    def __init__(self, text: str, *, is_server_away: bool = True) -> None:
        super().__init__(text)
        self.is_server_away = is_server_away


class MailRefused(MailError):
    """The server will never take this mail for this recipient: trying again is of no use."""
