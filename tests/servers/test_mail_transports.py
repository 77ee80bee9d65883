"""Mails leave over SMTP: encrypted to servers that prove who they are, and within a hard limit of time."""

from __future__ import annotations

import functools
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from app.mail import SAMPLES, MailRefused, MailUnavailable, Site, make_transport, render
from app.mail_url import parse_mail_url
from gatehouse.testing.servers.ports import find_free_port
from gatehouse.testing.servers.postfix import LATER, REFUSED, Postfix
from gatehouse.testing.servers.waiting import wait_until

from .harness.proxy import Fault, Proxy
from .harness.smtp import PASSWORD, URL_CREDENTIALS, MailServer
from .harness.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

    from app.mail import Transport
    from gatehouse.testing.servers.certificate import Certificate

SITE = Site(name="Jane's Überseehandel", url="https://accounts.example.com", accent="#2f5d50")
LINK = str(SAMPLES["reset_password"]["link"])
# Beyond the limit of a delivery; what a busy machine may add.
SLACK_SECONDS = 1.0


def make_mail(to: str = "jane@example.org", *, language: str = "de") -> EmailMessage:
    return render(
        "reset_password",
        language=language,
        recipient=to,
        message_id="0190",
        sent_from="no-reply@accounts.example.com",
        site=SITE,
        context=SAMPLES["reset_password"],
    )


def make(url: str) -> Transport:
    return make_transport(parse_mail_url(url))


def get_text(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("mail")


@pytest.fixture(scope="module")
def postfix(certificate: Certificate) -> Iterator[Postfix]:
    with Postfix(tls=certificate) as server:
        yield server


# --- Debian's Postfix ---


@pytest.mark.server("postfix")
class TestPostfix:
    @pytest.fixture
    def transport(self, postfix: Postfix, authority: Authority) -> Transport:
        return make(f"{postfix.url}?starttls=required&ca={authority.path}&timeout=2")

    def test_takes_mails_over_starttls(self, postfix: Postfix, transport: Transport) -> None:
        transport.check()
        before = len(postfix.messages())
        recipients = ["jane@example.org", "jane@münchen.example", "jäne@example.com"]
        for to in recipients:
            transport.send(make_mail(to))
        arrived = {each["To"]: each for each in postfix.wait_for_messages(before + 3)[before:]}
        assert arrived.keys() == {"jane@example.org", "jane@xn--mnchen-3ya.example", "jäne@example.com"}
        for message in arrived.values():
            assert message["From"] == "Jane's Überseehandel <no-reply@accounts.example.com>"
            assert message["Subject"] == "Neues Passwort wählen"
            assert message["Message-ID"] == "<0190@accounts.example.com>"
            assert f"\n{LINK}\n" in get_text(message)

    def test_refuses_one_recipient_for_good_and_another_for_now(self, transport: Transport) -> None:
        with pytest.raises(MailRefused, match=r"^the mail server refused the recipient: 550 5\.1\.1"):
            transport.send(make_mail(REFUSED))
        with pytest.raises(MailUnavailable, match=r"refused the recipient: 450 4\.2\.1"):
            transport.send(make_mail(LATER))

    def test_takes_nothing_in_clear_text(self, postfix: Postfix) -> None:
        with pytest.raises(MailUnavailable, match="STARTTLS"):
            make(postfix.url).send(make_mail())

    def test_holds_no_delivery_while_it_is_frozen_or_gone_and_takes_the_next_mail_after_that(
        self, postfix: Postfix, transport: Transport
    ) -> None:
        postfix.freeze()
        begun_at = time.monotonic()
        with pytest.raises(MailUnavailable, match="was not done within 2 s"):
            transport.send(make_mail())
        assert 1.9 < time.monotonic() - begun_at < 2 + SLACK_SECONDS
        postfix.thaw()
        postfix.kill()
        with pytest.raises(MailUnavailable, match=r"refused|reset|closed"):
            transport.send(make_mail())
        postfix.start()
        before = len(postfix.messages())
        transport.send(make_mail())
        postfix.wait_for_messages(before + 1)


# --- who the server is ---


@pytest.mark.parametrize("is_tls", [False, True])
class TestCertificates:
    """STARTTLS, and TLS from the first byte on."""

    def make(self, server: MailServer, authority: Authority, *, is_tls: bool, host: str = "localhost") -> Transport:
        scheme, option = ("smtps", "") if is_tls else ("smtp", "starttls=required&")
        return make(f"{scheme}://{URL_CREDENTIALS}{host}:{server.port}?{option}ca={authority.path}")

    def test_a_good_one_is_trusted_and_the_password_is_sent_to_it(
        self, authority: Authority, certificate: Certificate, *, is_tls: bool
    ) -> None:
        with MailServer(certificate=certificate, is_tls=is_tls, wants_password=True) as server:
            transport = self.make(server, authority, is_tls=is_tls)
            transport.check()
            assert server.messages() == []
            transport.send(make_mail())
            assert [each["To"] for each in server.messages()] == ["jane@example.org"]

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("stranger", "unable to get local issuer|self-signed|self signed"),
            ("expired", "expired"),
            ("self_signed", "self-signed|self signed"),
            ("other_host", "not valid for"),
        ],
    )
    def test_a_bad_one_is_refused_before_anything_is_sent(
        self, authority: Authority, tmp_path: Path, fault: str, words: str, *, is_tls: bool
    ) -> None:
        issuer = Authority(tmp_path, "Throwaway CA") if fault == "stranger" else authority
        certificate = issuer.issue(
            "mail",
            hosts=("mail.example.com",) if fault == "other_host" else ("localhost",),
            is_expired=fault == "expired",
            is_self_signed=fault == "self_signed",
        )
        with (
            MailServer(certificate=certificate, is_tls=is_tls, wants_password=True) as server,
            Proxy(server.port) as proxy,
        ):
            url = f"{'smtps' if is_tls else 'smtp'}://{URL_CREDENTIALS}localhost:{proxy.port}"
            transport = make(f"{url}?{'' if is_tls else 'starttls=required&'}ca={authority.path}")
            with pytest.raises(
                MailUnavailable, match=f"certificate of the mail server is not to be trusted: .*({words})"
            ):
                transport.send(make_mail())
            assert b"AUTH" not in proxy.sent
            assert b"MAIL FROM" not in proxy.sent
            assert server.messages() == []

    def test_that_of_a_private_ca_is_not_trusted_unless_that_is_named(
        self, certificate: Certificate, *, is_tls: bool
    ) -> None:
        with MailServer(certificate=certificate, is_tls=is_tls) as server:
            url = f"{'smtps' if is_tls else 'smtp'}://localhost:{server.port}{'' if is_tls else '?starttls=required'}"
            with pytest.raises(MailUnavailable, match="not to be trusted"):
                make(url).check()


def test_a_server_that_offers_no_encryption_gets_neither_password_nor_mail() -> None:
    with MailServer() as server, Proxy(server.port) as proxy:
        transport = make(f"smtp://{URL_CREDENTIALS}127.0.0.1:{proxy.port}?starttls=required")
        with pytest.raises(MailUnavailable, match="offers no encryption"):
            transport.send(make_mail())
        assert b"AUTH" not in proxy.sent
        assert server.messages() == []


def test_what_a_stranger_slipped_in_before_the_encryption_is_not_believed() -> None:
    # The reply to STARTTLS and one more line in the same packet, which must not count as the server's once encrypted.
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, client.makefile("rb") as lines:
                client.sendall(b"220 hello\r\n")
                lines.readline()
                client.sendall(b"250-here\r\n250 STARTTLS\r\n")
                lines.readline()
                client.sendall(b"220 go\r\n250-here\r\n250 AUTH PLAIN\r\n")
                lines.read()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(MailUnavailable):
            make(f"smtp://u:p@127.0.0.1:{listener.getsockname()[1]}?starttls=required&timeout=1").check()
        thread.join(5)


def test_a_wrong_password_is_told_without_it_and_kills_no_mail(authority: Authority, certificate: Certificate) -> None:
    with MailServer(certificate=certificate, wants_password=True) as server:
        url = f"smtp://gatehouse:wrong-pa55@localhost:{server.port}?starttls=required&ca={authority.path}"
        with pytest.raises(MailUnavailable, match=r"does not take user and password \(reply 535\)") as fault:
            make(url).send(make_mail())
        assert "pa55" not in str(fault.value)
        assert server.messages() == []


def test_a_server_that_takes_no_passwords_is_told() -> None:
    with MailServer() as server, pytest.raises(MailUnavailable, match="AUTH") as fault:
        make(f"smtp://{URL_CREDENTIALS}127.0.0.1:{server.port}").check()
    assert PASSWORD not in str(fault.value)


# --- how long it takes ---


@pytest.mark.parametrize(
    "fault",
    [
        Fault(is_silent=True),
        Fault(bytes_per_piece=1, delay_seconds=0.2),
        Fault(delay_seconds=0.7),
    ],
    ids=["silent", "a byte now and then", "slow to each command"],
)
@pytest.mark.parametrize("is_tls", [False, True])
def test_a_delivery_is_over_in_time_whatever_the_server_does(
    authority: Authority, certificate: Certificate, fault: Fault, *, is_tls: bool
) -> None:
    server = MailServer(certificate=certificate, is_tls=True) if is_tls else MailServer()
    with server, Proxy(server.port) as proxy:
        proxy.fault = fault
        options = f"?timeout=2&ca={authority.path}" if is_tls else "?timeout=2"
        transport = make(f"{'smtps' if is_tls else 'smtp'}://localhost:{proxy.port}{options}")
        message = make_mail()
        for deliver in (functools.partial(transport.send, message), transport.check):
            begun_at = time.monotonic()
            with pytest.raises(MailUnavailable, match="was not done within 2 s"):
                deliver()
            assert 1.9 < time.monotonic() - begun_at < 2 + SLACK_SECONDS
        assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def test_a_mail_that_was_taken_counts_as_delivered_however_the_goodbye_goes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, client.makefile("rb") as lines:
                client.sendall(b"220 hello\r\n")
                for answer in (b"250 here", b"250 fine", b"250 fine", b"354 go on"):
                    lines.readline()
                    client.sendall(answer + b"\r\n")
                while lines.readline() != b".\r\n":
                    pass
                client.sendall(b"250 taken\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        make(f"smtp://127.0.0.1:{listener.getsockname()[1]}?timeout=2").send(make_mail())
        thread.join(5)


def test_a_server_that_is_down_or_has_no_name_is_told_at_once() -> None:
    with pytest.raises(MailUnavailable, match=r"smtp://127\.0\.0\.1:\d+: .*refused"):
        make(f"smtp://127.0.0.1:{find_free_port()}").send(make_mail())
    with pytest.raises(MailUnavailable, match="smtp://"):
        make("smtp://nothing.invalid:25?timeout=5").send(make_mail())


def test_a_resolver_that_does_not_answer_holds_no_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answer.wait(30) and [])
    begun_at = time.monotonic()
    with pytest.raises(MailUnavailable, match="was not done within 1 s"):
        make("smtp://mail.example.com?timeout=1").send(make_mail())
    assert time.monotonic() - begun_at < 1 + SLACK_SECONDS
    answer.set()


def test_several_threads_deliver_at_once() -> None:
    with MailServer() as server:
        transport = make(f"smtp://127.0.0.1:{server.port}")
        threads = [threading.Thread(target=transport.send, args=[make_mail(f"u{n}@example.com")]) for n in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(server.messages()) == 8, within_seconds=10, what="eight mails")
        assert {each["To"] for each in server.messages()} == {f"u{n}@example.com" for n in range(8)}
        for thread in threads:
            thread.join()


# --- what the server says ---


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", "553 mailbox name not allowed"])
def test_a_refusal_is_final_where_it_is_about_the_recipient(reply: str) -> None:
    with MailServer(replies={"jane@example.org": reply}) as server, pytest.raises(MailRefused, match=reply[:3]):
        make(f"smtp://127.0.0.1:{server.port}").send(make_mail())


@pytest.mark.parametrize(
    ("reply", "is_server_away"),
    [
        ("450 4.2.0 greylisted", False),
        ("452 4.2.2 mailbox full", False),
        ("421 4.3.2 shutting down", True),
        # About the sender, which an operator can set right.
        ("554 5.7.1 relay access denied", False),
        ("530 authentication required", False),
    ],
)
def test_any_other_refusal_is_for_now_and_says_whether_other_mails_could_go(
    reply: str, *, is_server_away: bool
) -> None:
    with MailServer(replies={"jane@example.org": reply}) as server:
        with pytest.raises(MailUnavailable, match=reply[:3]) as refusal:
            make(f"smtp://127.0.0.1:{server.port}").send(make_mail())
        assert refusal.value.is_server_away == is_server_away


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (f"554 5.6.0 rejected: {LINK} is bad", MailRefused),
        (f"451 4.3.0 \x1b[31m later: {LINK}", MailUnavailable),
    ],
)
def test_a_mail_may_be_refused_for_what_is_in_it_and_no_link_is_repeated(reply: str, error: type[Exception]) -> None:
    with MailServer(data_reply=reply) as server:
        with pytest.raises(error) as refusal:
            make(f"smtp://127.0.0.1:{server.port}").send(make_mail(language="en"))
        told = str(refusal.value)
        assert told.isprintable()
        assert LINK.partition("=")[2] not in told
        assert "/account/reset#…" in told


def test_an_address_that_the_server_has_no_letters_for_is_final() -> None:
    with MailServer(knows_utf8=False) as server:
        transport = make(f"smtp://127.0.0.1:{server.port}")
        with pytest.raises(MailRefused, match="SMTPUTF8"):
            transport.send(make_mail("jäne@example.com"))
        transport.send(make_mail("jane@münchen.example"))
        assert [each["To"] for each in server.messages()] == ["jane@xn--mnchen-3ya.example"]
