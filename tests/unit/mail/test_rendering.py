"""What a mail says, in each language, and that nothing that strangers write into it reaches more than its own place."""

from __future__ import annotations

import email
import email.policy
import re
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.languages import LANGUAGES
from app.mail import SAMPLES, Site, TemplateFault, render
from app.mail.rendering import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage
    from pathlib import Path

SITE: Final = Site(name="Acme", url="https://accounts.example.com", accent="#2f5d50")
LONG: Final = "Bartholomäus " * 40


def make(
    template: str = "invitation",
    *,
    language: str = "en",
    recipient: str = "jane@example.org",
    sent_from: str = "no-reply@accounts.example.com",
    site: Site = SITE,
    **changes: str | int | None,
) -> EmailMessage:
    """Return a mail as it is read after its way over the wire."""
    message = render(
        template,
        language=language,
        recipient=recipient,
        message_id="0190-abc",
        sent_from=sent_from,
        site=site,
        context={**SAMPLES[template], **changes},
    )
    sent = message.as_bytes()
    sent.decode("ascii" if recipient.partition("@")[0].isascii() else "utf-8")
    assert max(map(len, sent.split(b"\r\n"))) <= 998
    return email.message_from_bytes(sent, policy=email.policy.default)


def get_part(message: EmailMessage, kind: str) -> str:
    part: Any = message.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n")


def get_text(message: EmailMessage) -> str:
    return get_part(message, "plain")


def get_html(message: EmailMessage) -> str:
    return get_part(message, "html")


# --- every mail ---


def test_every_template_has_a_sample_and_the_other_way_round() -> None:
    templates = {path.stem for path in (FOLDER / "templates").glob("*.jinja")}
    assert templates == set(SAMPLES)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("template", SAMPLES)
def test_every_mail_is_text_and_html_that_say_the_same(template: str, language: str) -> None:
    message = make(template, language=language)
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    text, html = get_text(message), get_html(message)
    assert 'lang="' + language in html
    for name, value in SAMPLES[template].items():
        if name.endswith("link"):
            assert f"\n{value}\n" in text, "a link has its own line"
            assert html.count(f'href="{value}"') == 2, "a button, and the address itself"
            assert f">{value}</a>" in html
        elif name in {"code", "new_email", "ip", "inviter"}:
            assert str(value) in text
            assert str(value) in html
    assert all(len(line) <= 72 or "://" in line for line in text.splitlines())
    seen = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    words = set(re.findall(r"\w{4,}", text)) - {"https", "account", "token"}
    assert words <= set(re.findall(r"\w{4,}", seen))


@pytest.mark.parametrize("template", SAMPLES)
def test_every_mail_is_in_the_language_that_was_asked_for(template: str) -> None:
    english, german = make(template), make(template, language="de")
    assert get_text(english).startswith("Hello,\n")
    assert get_text(german).startswith("Guten Tag,\n")
    assert english["Subject"] != german["Subject"]
    assert german["Content-Language"] == "de"


def test_the_headers_say_what_it_is() -> None:
    message = make()
    assert message["From"] == "Acme <no-reply@accounts.example.com>"
    assert message["To"] == "jane@example.org"
    assert message["Subject"] == "Invitation to Acme"
    assert message["Message-ID"] == "<0190-abc@accounts.example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["MIME-Version"] == "1.0"
    assert message["Date"].datetime.tzinfo is not None


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://127.0.0.1:8000", "127.0.0.1"), ("http://[::1]:8000", "[::1]"), ("http://[::1]", "[::1]")],
)
def test_a_site_without_a_name_has_its_ip_in_the_id(url: str, host: str) -> None:
    message = make(site=Site(name="Acme", url=url, accent="#000000"))
    assert message["Message-ID"] == f"<0190-abc@{host}>"


def test_a_link_in_english_can_be_copied_from_the_file_as_it_stands() -> None:
    message = render(
        "reset_password",
        language="en",
        recipient="jane@example.org",
        message_id="x",
        sent_from="a@example.com",
        site=SITE,
        context=SAMPLES["reset_password"],
    )
    assert f"\r\n{SAMPLES['reset_password']['link']}\r\n".encode() in message.as_bytes()


# --- durations and times ---


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (60, "1 minute", "1 Minute"),
        (119, "1 minute", "1 Minute"),
        (900, "15 minutes", "15 Minuten"),
        (3600, "1 hour", "1 Stunde"),
        (5400, "90 minutes", "90 Minuten"),
        (86400, "1 day", "1 Tag"),
        (129600, "36 hours", "36 Stunden"),
        (604800, "7 days", "7 Tage"),
        (1, "1 minute", "1 Minute"),
    ],
)
def test_how_long_a_link_works_is_told_in_words(seconds: int, english: str, german: str) -> None:
    assert f"within {english}." in get_text(make(expires_in=seconds))
    assert f"gilt {german}." in get_text(make(language="de", expires_in=str(seconds)))


def test_an_instant_is_told_in_utc() -> None:
    at = "2026-11-25T01:05:00+02:00"
    assert "Time: November 24, 2026, 11:05:00 PM UTC" in get_text(make("new_device", at=at))
    assert "Zeit: 24. November 2026, 23:05:00 UTC" in get_text(make("new_device", language="de", at=at))
    assert "on November 24, 2026 it" in " ".join(get_text(make("account_deletion", due_at=at)).split())


@pytest.mark.parametrize(
    ("user_agent", "described"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0", "Firefox, Linux"),
        (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
                " Safari/537.36 Edg/140.0.0.0"
            ),
            "Edge, Windows",
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile"
                " Safari/537.36"
            ),
            "Chrome, Android",
        ),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
                " Version/19.0 Mobile/15E148 Safari/604.1"
            ),
            "Safari, iPhone",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("bad\r\nBcc: x@example.com\x1b[31m", "bad Bcc: x@example.com [31m"),
        ("", ""),
    ],
)
def test_a_device_is_called_as_people_call_it(user_agent: str, described: str) -> None:
    assert f"Device: {described}\n" in get_text(make("new_device", user_agent=user_agent))


# --- what strangers write ---


@pytest.mark.parametrize(
    "name",
    [
        "Eve\r\nBcc: victim@example.com",
        "Eve\nSubject: You won",
        "Eve\x1b[2J\x1b[31m\x07\x00",
        "Eve\u2028Bcc: x\u2029\x85\x0b\x0c",
        "Eve\ud800",
        "Eve\u202egnp.exe\u202c\u2066\u200f",
    ],
)
def test_controls_reach_neither_headers_nor_lines(name: str) -> None:
    hostile = Site(name=name, url=SITE.url, accent=SITE.accent)
    for language in LANGUAGES:
        message = make(language=language, site=hostile, inviter=name)
        assert set(message.keys()) == set(make().keys())
        assert message["To"] == "jane@example.org"
        assert str(message["From"]).isprintable()
        assert str(message["Subject"]).isprintable()
        for part in (get_text(message), get_html(message)):
            assert not re.search(
                "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066\u200f\ud800-\udfff]", part
            )


def test_markup_is_shown_and_not_done() -> None:
    name = "<img src=x onerror=alert(1)>\"'&amp; {{ 7 * 7 }} %(site)s {% raw %}"
    message = make(inviter=name, site=Site(name="A & <B>", url=SITE.url, accent=SITE.accent))
    html = get_html(message)
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;amp; {{ 7 * 7 }} %(site)s {% raw %}" in html
    assert "A &amp; &lt;B&gt;" in html
    assert " ".join(name.split()) in " ".join(get_text(message).split())
    assert message["Subject"] == "Invitation to A & <B>"


def test_a_name_from_right_to_left_is_isolated_in_the_text_and_as_it_is_in_headers() -> None:
    name = "\u05e0\u05d5\u05e2\u05d4"
    message = make(inviter=name, site=Site(name=name, url=SITE.url, accent=SITE.accent))
    text = " ".join(get_text(message).split())
    assert f"\u2068{name}\u2069 invites you to create an account at \u2068{name}\u2069 with" in text
    assert message["Subject"] == f"Invitation to {name}"
    assert message["From"].addresses[0].display_name == name
    assert "\u2068" not in get_text(make())


def test_emoji_stay_whole() -> None:
    family = "👨\u200d👩\u200d👧\ufe0f"
    message = make(site=Site(name=f"Acme {family}", url=SITE.url, accent=SITE.accent), inviter=family)
    assert family in get_text(message)
    assert family in get_html(message)
    assert message["Subject"] == f"Invitation to Acme {family}"
    assert message["From"].addresses[0].display_name == f"Acme {family}"


def test_a_very_long_name_is_shortened() -> None:
    message = make(site=Site(name=LONG, url=SITE.url, accent=SITE.accent), inviter=LONG)
    text = " ".join(get_text(message).split())
    assert "Bartholomäus… invites" in text or "… invites" in text
    assert len(message["Subject"]) <= 200
    sender = str(make_header(decode_header(str(message["From"]))))
    assert sender.startswith("Bartholomäus Bartholomäus ")
    assert sender.endswith("… <no-reply@accounts.example.com>")


@pytest.mark.parametrize("name", ['Jane "J" Doe', "Doe, Jane", "Jane (Acme) Doe", "a@b.example", "Jane\\Doe", "x;y:z"])
def test_a_sender_s_name_is_quoted_where_it_must_be(name: str) -> None:
    sender = make(site=Site(name=name, url=SITE.url, accent=SITE.accent))["From"].addresses
    assert [(each.display_name, each.addr_spec) for each in sender] == [(name, "no-reply@accounts.example.com")]


# --- addresses ---


@pytest.mark.parametrize(
    ("recipient", "to"),
    [
        ("jane@münchen.example", "jane@xn--mnchen-3ya.example"),
        ("o'brien+tag@example.org", "o'brien+tag@example.org"),
        ("jane@例え.テスト", "jane@xn--r8jz45g.xn--zckzah"),
    ],
)
def test_a_domain_in_another_script_needs_nothing_of_the_server(recipient: str, to: str) -> None:
    message = make(recipient=recipient)
    assert message["To"].addresses[0].addr_spec == to
    assert recipient in get_text(message)


def test_only_another_script_before_the_at_needs_smtputf8() -> None:
    message = make(recipient="jäne@münchen.example")
    assert message["To"] == "jäne@xn--mnchen-3ya.example"


def test_a_sender_at_an_ip_is_one() -> None:
    assert make(sent_from="no-reply@[127.0.0.1]")["From"].addresses[0].domain == "[127.0.0.1]"


# --- branding ---


@pytest.mark.parametrize(
    ("accent", "ink"),
    [("#000000", "#ffffff"), ("#2f5d50", "#ffffff"), ("#ffffff", "#000000"), ("#ffd400", "#000000")],
)
def test_the_button_can_be_read_on_any_accent(accent: str, ink: str) -> None:
    html = get_html(make(site=Site(name="Acme", url=SITE.url, accent=accent)))
    assert f'bgcolor="{accent}"' in html
    assert f"color:{ink};text-decoration:none" in html


def test_only_the_logo_is_loaded_from_elsewhere() -> None:
    logo = "https://www.example.com/logo.png?a=1&b=2"
    html = get_html(make(site=Site(name="Acme", url=SITE.url, accent="#2f5d50", logo=logo)))
    assert re.findall(r"<img[^>]+>", html)[0].startswith(
        '<img src="https://www.example.com/logo.png?a=1&amp;b=2" alt="Acme"'
    )
    for source in (html, get_html(make())):
        assert not re.search(r"@import|<link|<script|url\(|background=", source)
    assert "<img" not in get_html(make())


def test_the_first_words_are_shown_beside_the_subject() -> None:
    preheader = re.search(r'<div style="display:none[^>]*>([^<]*)</div>', get_html(make()))
    assert preheader is not None
    assert " ".join(preheader[1].split()) == "Jane Doe invites you to create an account at Acme with this address."


def test_an_operator_s_templates_go_before_ours(tmp_path: Path) -> None:
    (tmp_path / "invitation.jinja").write_text(
        "{% extends layout %}{% block subject %}Come in{% endblock %}"
        "{% block body %}{{ paragraph(_('Sign in')) }}{{ button('Enter', link) }}{% endblock %}"
    )
    (tmp_path / "layout.html").write_text(
        "{% macro paragraph(text) %}<i>{{ text }}</i>{% endmacro %}{% macro button(label, url) %}"
        '<a href="{{ url }}">{{ label }}</a>{% endmacro %}<b>{{ site.name }}</b>{% block body %}{% endblock %}'
    )
    message = make(language="de", site=Site(name="Acme", url=SITE.url, accent="#000000", templates=str(tmp_path)))
    assert message["Subject"] == "Come in"
    link = SAMPLES["invitation"]["link"]
    assert get_html(message).strip() == f'<b>Acme</b><i>Anmelden</i><a href="{link}">Enter</a>'
    assert get_text(message).startswith(f"Guten Tag,\n\nAnmelden\n\nEnter:\n{link}\n")


# --- what cannot be rendered ---


@pytest.mark.parametrize(
    ("template", "context", "fault"),
    [
        ("nothing", {}, "nothing"),
        ("../../../etc/passwd", {}, "passwd"),
        ("reset_password", {"expires_in": 60}, "'link' is undefined"),
    ],
)
def test_a_template_that_is_not_there_or_lacks_a_value_is_named(
    template: str, context: Mapping[str, Any], fault: str
) -> None:
    with pytest.raises(TemplateFault, match=re.escape(fault)):
        render(
            template,
            language="en",
            recipient="jane@example.org",
            message_id="x",
            sent_from="a@example.com",
            site=SITE,
            context=context,
        )


@pytest.mark.parametrize("body", ["{{ link", "{{ inviter.nothing }}", "{% endblock %}", "{{ 1 / 0 }}"])
def test_an_operator_s_broken_template_is_named(tmp_path: Path, body: str) -> None:
    (tmp_path / "invitation.jinja").write_text(
        f"{{% extends layout %}}{{% block subject %}}x{{% endblock %}}{{% block body %}}{body}{{% endblock %}}"
    )
    with pytest.raises(TemplateFault, match="invitation"):
        make(site=Site(name="Acme", url=SITE.url, accent="#000000", templates=str(tmp_path)))
