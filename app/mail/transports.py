"""How mails leave: printed, as files, or over SMTP."""

import os
import re
import sys
import tempfile
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol

from app.mail_url import MailTarget

from .errors import MailUnavailable
from .smtp import SmtpTransport

_UNFIT_FOR_A_NAME: Final = re.compile(r"[^A-Za-z0-9-]+")


class Transport(Protocol):
    """Delivers one mail at a time; several threads may use it at once."""

    def send(self, message: EmailMessage) -> None:
        """Deliver ``message`` to whom its header ``To`` names, within the time that the target allows.

        Raises:
            MailUnavailable: not now; it may have arrived nevertheless, where the server's last word was lost.
            MailRefused: never, for this recipient.
        """

    def check(self) -> None:
        """Make sure that a mail could be sent now, without sending any.

        Raises:
            MailUnavailable: it could not; the text tells an operator why.
        """


def make_transport(target: MailTarget) -> Transport:
    """Return what delivers to ``target``; nothing is opened before it is used."""
    if target.kind == "console":
        return ConsoleTransport()
    if target.kind == "file":
        return FileTransport(Path(target.folder))
    return SmtpTransport(target)


class ConsoleTransport:
    """Prints what a person would read on standard output: the log, on standard error, stays one line a record."""

    def send(self, message: EmailMessage) -> None:
        """Print the text of ``message``."""
        body = message.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        heads = [f"{name}: {message[name]}" for name in ("To", "Subject")]
        try:
            # One call, so that mails of two threads do not mix.
            sys.stdout.write("\n".join(["-" * 72, *heads, "", text.rstrip(), "-" * 72, ""]))
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            raise MailUnavailable(f"standard output: {error}") from error

    def check(self) -> None:
        """Do nothing: there is standard output, or nobody reads it."""


class FileTransport:
    """Writes a file for each mail, readable by its owner only; a mail that is delivered again replaces its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: EmailMessage) -> None:
        """Write ``message`` as a whole or not at all."""
        identity = str(message["Message-ID"]).strip("<>").partition("@")[0]
        path = self._folder / f"{_UNFIT_FOR_A_NAME.sub('_', identity)}.eml"
        try:
            self._write(path, message.as_bytes(policy=message.policy.clone(linesep=os.linesep)))
        except OSError as error:
            raise MailUnavailable(f"{path}: {error.strerror}") from error

    def check(self) -> None:
        """Make sure that files can be written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise MailUnavailable(f"{self._folder}: {error.strerror}") from error

    def _write(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp's files are their owner's alone.
        descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
