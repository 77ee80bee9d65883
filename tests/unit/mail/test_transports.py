"""Mails that are printed, and mails that are written to files; and whose mails they are."""

from __future__ import annotations

import email
import email.policy
import os
import stat
from typing import TYPE_CHECKING

import pytest

from app.config import Settings
from app.mail import SAMPLES, MailUnavailable, Site, make_sender, make_site, make_transport, render
from app.mail_url import parse_mail_url
from gatehouse.testing.databases import TEST_ENVIRON

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

    from app.mail import Transport


def make_mail(
    message_id: str = "0190-abc", *, recipient: str = "jane@example.org", code: str = "402918"
) -> EmailMessage:
    site = Site(name="Acme", url="https://accounts.example.com", accent="#2f5d50")
    return render(
        "sign_in_code",
        language="de",
        recipient=recipient,
        message_id=message_id,
        sent_from="no-reply@accounts.example.com",
        site=site,
        context={**SAMPLES["sign_in_code"], "code": code},
    )


def make_files(folder: Path) -> Transport:
    return make_transport(parse_mail_url(f"file:{folder}"))


# --- files ---


def test_a_mail_is_a_file_of_its_owner_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "mail"
    umask = os.umask(0)
    try:
        make_files(folder).send(make_mail())
    finally:
        os.umask(umask)
    assert [path.name for path in folder.iterdir()] == ["0190-abc.eml"]
    assert stat.S_IMODE((folder / "0190-abc.eml").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_mail_that_is_delivered_again_replaces_its_file(tmp_path: Path) -> None:
    transport = make_files(tmp_path)
    for message_id, code in (("a", "111111"), ("b", "222222"), ("a", "333333")):
        transport.send(make_mail(message_id, code=code))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.eml", "b.eml"]
    assert "333333" in (tmp_path / "a.eml").read_text()


@pytest.mark.parametrize("recipient", ["jane@example.org", "jäne@münchen.example"])
def test_a_file_can_be_read_as_a_mail(tmp_path: Path, recipient: str) -> None:
    make_files(tmp_path).send(make_mail(recipient=recipient))
    content = (tmp_path / "0190-abc.eml").read_bytes()
    assert b"\r" not in content
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["To"] == recipient.replace("münchen", "xn--mnchen-3ya")
    body = message.get_body(("plain",))
    assert body is not None
    assert "\n    402918\n" in body.get_content()


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    make_files(tmp_path / "mail").send(make_mail("../../etc/x"))
    assert [path.name for path in (tmp_path / "mail").iterdir()] == ["_etc_x.eml"]


def test_a_folder_that_cannot_be_written_to_is_told_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    transport = make_files(tmp_path / "taken")
    with pytest.raises(MailUnavailable, match="taken"):
        transport.check()
    with pytest.raises(MailUnavailable, match="taken"):
        transport.send(make_mail())
    (tmp_path / "0190-abc.eml").mkdir()
    with pytest.raises(MailUnavailable, match=r"0190-abc\.eml"):
        make_files(tmp_path).send(make_mail())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0190-abc.eml", "taken"]


def test_checking_a_folder_makes_it_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    make_files(tmp_path / "mail").check()
    assert list((tmp_path / "mail").iterdir()) == []


# --- the console ---


def test_a_printed_mail_is_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    transport = make_transport(parse_mail_url("console:"))
    transport.check()
    transport.send(make_mail())
    printed = capsys.readouterr().out
    assert "To: jane@example.org\nSubject: Ihr Code zum Anmelden\n\nGuten Tag,\n" in printed
    assert "\n    402918\n" in printed
    assert "<html" not in printed


def test_a_console_that_is_closed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "closed").open("w") as closed:
        pass
    monkeypatch.setattr("sys.stdout", closed)
    with pytest.raises(MailUnavailable, match="standard output"):
        make_transport(parse_mail_url("console:")).send(make_mail())


# --- whose mails they are ---


@pytest.mark.parametrize(
    ("environ", "sender"),
    [
        ({"MAIL_FROM": "Accounts@Example.com"}, "accounts@example.com"),
        ({"PUBLIC_URL": "https://accounts.example.com"}, "no-reply@accounts.example.com"),
        ({"PUBLIC_URL": "http://127.0.0.1:8000"}, "no-reply@[127.0.0.1]"),
        ({"PUBLIC_URL": "http://[::1]:8000"}, "no-reply@[IPv6:::1]"),
        ({"PUBLIC_URL": "http://localhost:8000"}, "no-reply@localhost"),
    ],
)
def test_the_sender_is_that_of_the_settings_or_at_the_site_s_own_host(environ: dict[str, str], sender: str) -> None:
    settings = Settings.from_environ(TEST_ENVIRON | environ)
    assert make_sender(settings) == sender
    message = render(
        "account_deleted",
        language="en",
        recipient="jane@example.org",
        message_id="x",
        sent_from=make_sender(settings),
        site=make_site(settings),
        context={},
    )
    assert f"<{sender}>" in message.as_string()


def test_the_site_is_that_of_the_settings(tmp_path: Path) -> None:
    environ = {
        "SITE_NAME": "Acme",
        "SITE_LOGO": "https://www.example.com/logo.png",
        "SITE_ACCENT": "#AA0000",
        "PUBLIC_URL": "https://accounts.example.com",
        "MAIL_TEMPLATES": str(tmp_path),
    }
    assert make_site(Settings.from_environ(TEST_ENVIRON | environ)) == Site(
        name="Acme",
        logo="https://www.example.com/logo.png",
        accent="#aa0000",
        url="https://accounts.example.com",
        templates=str(tmp_path),
    )
