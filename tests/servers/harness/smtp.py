"""A small mail server in a thread: TLS and passwords as asked for, and the mails that it took."""

from __future__ import annotations

import email
import email.policy
import ssl
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from gatehouse.testing.servers.ports import find_free_port

if TYPE_CHECKING:
    from email.message import EmailMessage
    from typing import Self

    from gatehouse.testing.servers.certificate import Certificate

USER = "gatehouse"
PASSWORD = "p@ss/word"
URL_CREDENTIALS = "gatehouse:p%40ss%2Fword@"


class MailServer:
    """Takes mail at ``localhost``; use it in a ``with`` block. ``replies`` are its answers to recipients."""

    def __init__(
        self,
        *,
        certificate: Certificate | None = None,
        is_tls: bool = False,
        wants_password: bool = False,
        knows_utf8: bool = True,
        replies: dict[str, str] | None = None,
        data_reply: str = "250 2.0.0 taken",
    ) -> None:
        """``certificate`` is offered with STARTTLS, or from the first byte on (``is_tls``)."""
        self.port = find_free_port()
        self._wants_password = wants_password
        self._replies = replies or {}
        self._data_reply = data_reply
        self._taken: list[bytes] = []
        options: dict[str, Any] = {"enable_SMTPUTF8": knows_utf8}
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.certificate, certificate.key)
            options |= {"ssl_context": context} if is_tls else {"tls_context": context, "require_starttls": True}
        if wants_password:
            # Of TLS from the first byte on the library does not know that it is TLS.
            options |= {"authenticator": self._authenticate, "auth_require_tls": not is_tls}
        self._controller = Controller(self, "127.0.0.1", self.port, server_hostname="localhost", **options)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def messages(self) -> list[EmailMessage]:
        """Return the mails that it took, oldest first."""
        return [email.message_from_bytes(each, policy=email.policy.default) for each in self._taken]

    # --- what aiosmtpd calls ---

    def _authenticate(
        self, _server: object, _session: object, _envelope: object, _method: str, data: Any
    ) -> AuthResult:
        is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        # Unless it is said that this has been seen to, the library answers for us.
        return AuthResult(success=is_right, handled=False)

    async def handle_RCPT(  # noqa: N802 - the library's
        self, _server: object, session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if self._wants_password and not session.authenticated:
            return "530 5.7.0 who are you?"
        reply = self._replies.get(address, "250 2.1.5 fine")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - likewise
        if self._data_reply.startswith("250"):
            self._taken.append(envelope.original_content)
        return self._data_reply
