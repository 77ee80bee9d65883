"""``MAIL_URL``: what it may be, and what is told of one that is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from app.config import ROOT
from app.mail_url import MailTarget, parse_mail_url

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "pa55-phrase"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("console:", {"kind": "console"}),
        ("file:var/mail", {"kind": "file", "folder": "var/mail"}),
        ("file:/srv/mail", {"kind": "file", "folder": "/srv/mail"}),
        ("file:///srv/my%20mail", {"kind": "file", "folder": "/srv/my mail"}),
        ("smtp://mail.example.com", {"host": "mail.example.com", "port": 587, "encryption": "starttls"}),
        ("SMTP://mail.example.com:2525/", {"host": "mail.example.com", "port": 2525, "encryption": "starttls"}),
        ("smtp://mail.example.com?starttls=off", {"host": "mail.example.com", "port": 25, "encryption": "none"}),
        ("smtp://localhost", {"host": "localhost", "port": 25, "encryption": "none"}),
        ("smtp://127.0.0.2:1025", {"host": "127.0.0.2", "port": 1025, "encryption": "none"}),
        ("smtp://[::1]:1025", {"host": "::1", "port": 1025, "encryption": "none"}),
        ("smtp://localhost?starttls=required", {"host": "localhost", "port": 587, "encryption": "starttls"}),
        ("smtps://mail.example.com?timeout=5", {"port": 465, "encryption": "tls", "timeout_seconds": 5}),
        ("smtps://u:p%40%2F@mail.example.com", {"user": "u", "password": "p@/", "encryption": "tls"}),
        ("smtps://me%40example.com:p@[2001:db8::1]", {"user": "me@example.com", "host": "2001:db8::1"}),
    ],
)
def test_a_url_says_where_mail_goes(text: str, expected: dict[str, Any]) -> None:
    target = parse_mail_url(text)
    assert {name: getattr(target, name) for name in expected} == expected
    assert target.kind == expected.get("kind", "smtp")


def test_a_delivery_takes_ten_seconds_at_most_unless_it_is_said() -> None:
    assert {parse_mail_url(text).timeout_seconds for text in ("console:", "file:x", "smtp://h", "smtps://h")} == {10}


def test_a_ca_of_one_s_own_is_a_file_that_there_is(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    assert parse_mail_url(f"smtps://mail.example.com?ca={file}").ca == str(file)
    with pytest.raises(ValueError, match="an existing file as ca"):
        parse_mail_url(f"smtps://mail.example.com?ca={file}x")
    with pytest.raises(ValueError, match="of no use without it"):
        parse_mail_url(f"smtp://localhost?ca={file}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "console:, file:var/mail, smtp://"),
        ("sendmail:", "console:, file:var/mail, smtp://"),
        ("console:stderr", "console:, file:var/mail, smtp://"),
        ("smtp:mail.example.com", "console:, file:var/mail, smtp://"),
        ("file:", "a folder"),
        ("file://host/mail", "a folder"),
        ("file:a%00b", "no control character"),
        ("file:a%ff", "in UTF-8"),
        ("smtp://mail.example.com\r\n", "without blanks"),
        ("smtp://mail.example.com ", "without blanks"),
        ("smtp://", "a host's name"),
        ("smtp://münchen.example", "xn--"),
        ("smtp://mail.example.com:0", "a host's name"),
        ("smtp://mail.example.com:65536", "a port from 1 to 65535"),
        ("smtp://mail.example.com:x", "a port from 1 to 65535"),
        ("smtp://[::1", "a host and a port"),
        ("smtp://mail.example.com/path", "nothing after host and port"),
        ("smtp://mail.example.com#x", "nothing after host and port"),
        ("smtp://user@mail.example.com", "both a user and a password"),
        ("smtp://:password@mail.example.com", "both a user and a password"),
        ("smtp://u:p%0d%0aRSET@mail.example.com", "no line break"),
        ("smtp://u:p%C3%A9@mail.example.com", "in ASCII"),
        ("smtp://mail.example.com?starttls=maybe", "starttls as required or off"),
        ("smtps://mail.example.com?starttls=off", "no options but ca, timeout"),
        ("smtp://mail.example.com?verify=off", "no options but starttls, ca, timeout"),
        ("smtp://mail.example.com?timeout=5&timeout=6", "each once"),
        ("smtp://mail.example.com?timeout", "options as in"),
        ("smtp://mail.example.com?timeout=0", "whole seconds from 1 to 60"),
        ("smtp://mail.example.com?timeout=61", "whole seconds from 1 to 60"),
        ("smtp://mail.example.com?timeout=٣", "whole seconds from 1 to 60"),
    ],
)
def test_a_wrong_url_is_told_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refusal:
        parse_mail_url(text)
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        f"smtp://user:{SECRET}/x@mail.example.com",
        f"smtp://user:{SECRET}#x@mail.example.com",
        f"smtp://user:{SECRET}?x@mail.example.com",
        f"smtp://user:{SECRET}@x@mail.example.com",
        f"smtp://user:{SECRET}@mail.example.com:x",
        f"smtp://user:{SECRET}@mail.example.com?{SECRET}=1",
        f"smtp:user:{SECRET}@mail.example.com",
    ],
)
def test_no_fault_shows_the_password(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refusal:
        parse_mail_url(text)
    assert SECRET not in str(refusal.value)


def test_a_target_is_shown_without_its_password() -> None:
    target = parse_mail_url(f"smtp://user:{SECRET}@mail.example.com")
    assert SECRET not in repr(target)
    assert str(target) == "smtp://user:***@mail.example.com:587"
    assert str(parse_mail_url("smtps://[2001:db8::1]")) == "smtps://[2001:db8::1]:465"
    assert str(parse_mail_url("file:var/mail")) == "file:var/mail"
    assert str(parse_mail_url("console:")) == "console:"


def test_a_target_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        MailTarget(kind="console").folder = "x"  # type: ignore[misc] # that is what is tried


def test_every_form_that_the_page_shows_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    page = (ROOT / "docs" / "mail.md").read_text()
    shown = re.findall(r"^MAIL_URL=(.*)$|^\| `((?:console|file|smtps?):[^`]*)`", page, re.MULTILINE)
    assert len(shown) == 8
    for text in map("".join, shown):
        parse_mail_url(re.sub(r"/etc/ssl/[\w.-]+", str(tmp_path / "ca.pem"), text))
