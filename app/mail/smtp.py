"""Delivery over SMTP: verified TLS, and an end to every delivery whatever the server does.

smtplib's time limit is one for each read: a server that sends a byte now and then would hold a delivery for ever.
"""

import contextlib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from functools import cached_property
from typing import Final

from app.database.resolver import resolve
from app.mail_url import MailTarget

from .errors import MailRefused, MailUnavailable

_CLOSING: Final = 421
_AUTHENTICATION_REQUIRED: Final = 530
# RFC 3463: the class "security or policy", such as a relay that is denied, is about us and not about the recipient.
_ABOUT_US: Final = b"5.7."


class SmtpTransport:
    """Delivers each mail over a connection of its own."""

    def __init__(self, target: MailTarget) -> None:
        self._target = target

    def send(self, message: EmailMessage) -> None:
        """Deliver ``message``; raises as ``Transport.send`` says."""
        with self._connect() as connection:
            try:
                connection.send_message(message)
            except smtplib.SMTPRecipientsRefused as error:
                code, reply = next(iter(error.recipients.values()))
                raise _describe_refusal("the recipient", code, reply) from error
            except smtplib.SMTPDataError as error:
                raise _describe_refusal("the mail", error.smtp_code, error.smtp_error) from error
            except smtplib.SMTPNotSupportedError as error:
                raise MailRefused(
                    "the mail server takes no addresses with characters other than ASCII (SMTPUTF8)"
                ) from error

    def check(self) -> None:
        """Connect, encrypt and sign in as a delivery would; raises as ``Transport.check`` says."""
        with self._connect():
            pass

    @contextlib.contextmanager
    def _connect(self) -> Iterator[smtplib.SMTP]:
        """Yield a connection that is ready for a mail; whatever else goes wrong with it, the mail can be sent later."""
        target = self._target
        deadline = _Deadline(target.timeout_seconds)
        connection = _Connection(target, self._tls_context, deadline)
        try:
            connection.open()
            yield connection
            with contextlib.suppress(OSError, smtplib.SMTPException):
                # The server has the mail already.
                connection.quit()
        except smtplib.SMTPAuthenticationError as error:
            # Its reply may repeat what was sent.
            text = f"{target}: the mail server does not take user and password (reply {error.smtp_code})"
            raise MailUnavailable(text) from error
        except smtplib.SMTPSenderRefused as error:
            text = f"{target}: the mail server refused the sender {error.sender}"
            raise MailUnavailable(f"{text}: {_describe_reply(error.smtp_code, error.smtp_error)}") from error
        except smtplib.SMTPResponseException as error:
            raise MailUnavailable(f"{target}: {_describe_reply(error.smtp_code, error.smtp_error)}") from error
        except (OSError, smtplib.SMTPException) as error:
            late = f"the mail server was not done within {target.timeout_seconds} s"
            raise MailUnavailable(f"{target}: {late if deadline.is_over else _describe_fault(error)}") from error
        finally:
            deadline.cancel()
            connection.close()

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        """What verifies chain and host name; made once, since reading all CAs of the system takes 10 ms and more."""
        context = ssl.create_default_context(cafile=self._target.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class _Deadline:
    """The moment at which a connection is cut, whatever it is doing."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._timer: threading.Timer | None = None
        self._connected: socket.socket | None = None

    @property
    def seconds_left(self) -> float:
        """How long it is until then; never 0, which would mean no limit."""
        return max(self._ends_at - time.monotonic(), 0.001)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def watch(self, connected: socket.socket) -> None:
        """Cut ``connected`` when the time has come, unless it is cancelled before."""
        # Another descriptor of the same connection: TLS takes the first away.
        self._connected = connected.dup()
        self._timer = threading.Timer(self.seconds_left, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        if self._connected is not None:
            self._connected.close()

    def _shut_down(self) -> None:
        if self._connected is not None:
            with contextlib.suppress(OSError):
                self._connected.shutdown(socket.SHUT_RDWR)


class _Connection(smtplib.SMTP):
    """smtplib's connection, made within a deadline."""

    def __init__(self, target: MailTarget, context: ssl.SSLContext, deadline: _Deadline) -> None:
        # Without a name smtplib would ask the system's resolver for one, which takes no deadline.
        super().__init__(local_hostname=socket.gethostname(), timeout=target.timeout_seconds)
        self._target = target
        self._context = context
        self._deadline = deadline

    def open(self) -> None:
        """Connect, encrypt and sign in."""
        target = self._target
        self._host = target.host  # what certificates are checked against
        code, reply = self.connect(target.host, target.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        self.ehlo_or_helo_if_needed()
        if target.encryption == "starttls":
            self.starttls(context=self._context)
            self.ehlo_or_helo_if_needed()
        if target.user:
            self.login(target.user, target.password)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's
        """Return a connected socket; smtplib would give each IP of the host all the time."""
        connected = self._connect_to_any(resolve(host, port, within_seconds=self._deadline.seconds_left), port)
        self._deadline.watch(connected)
        name = socket.gethostname()
        # RFC 5321, 4.1.4: who has no full name gives its IP.
        self.local_hostname = name if "." in name else _write_literal(connected.getsockname()[0])
        if self._target.encryption == "tls":
            return self._context.wrap_socket(connected, server_hostname=host)
        return connected

    def _connect_to_any(self, ips: tuple[str, ...], port: int) -> socket.socket:
        """Connect to the first IP that can be reached; none may use up the time of those after it."""
        for position, ip in enumerate(ips, 1):
            seconds = self._deadline.seconds_left
            try:
                connected = socket.create_connection((ip, port), seconds / (len(ips) - position + 1))
            except OSError:
                if position == len(ips):
                    raise
            else:
                # Longer than the deadline, which tells better what happened.
                connected.settimeout(seconds + 1)
                return connected
        raise OSError("the host has no IP")


def _write_literal(ip: str) -> str:
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _describe_refusal(what: str, code: int, reply: bytes | str) -> MailRefused | MailUnavailable:
    """Return the error for a mail that the server did not take: final, or to be tried again."""
    text = f"the mail server refused {what}: {_describe_reply(code, reply)}"
    raw = reply.encode() if isinstance(reply, str) else reply
    is_final = 500 <= code < 600 and code != _AUTHENTICATION_REQUIRED and not raw.startswith(_ABOUT_US)
    if is_final:
        return MailRefused(text)
    return MailUnavailable(text, is_server_away=code == _CLOSING)


def _describe_reply(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return f"{code} {text}"


def _describe_fault(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the mail server is not to be trusted: {error.verify_message}"
    if isinstance(error, smtplib.SMTPNotSupportedError) and "STARTTLS" in str(error):
        return "the mail server offers no encryption (STARTTLS)"
    return str(error) or type(error).__name__
