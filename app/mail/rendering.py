"""From a template and its values to a mail that every mail program shows well."""

import dataclasses
import email.policy
import email.utils
import functools
import re
import textwrap
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2
from babel.core import Locale
from babel.support import NullTranslations, Translations

from app.clock import now
from app.emails import split_email

from .site import Site
from .texts import Context, clean_line, describe_context, isolate

FOLDER: Final = Path(__file__).parent
# RFC 5322 asks for lines of at most 78 characters, and forbids those over 998.
_WIDTH: Final = 72
_LINE_MAX_LENGTH: Final = 998
_PORT: Final = re.compile(r":[0-9]+$")
_MANY_LINE_BREAKS: Final = re.compile(r"\n{3,}")


class TemplateFault(Exception):
    """A template cannot be rendered: there is none of this name, or it uses a value that it is not given."""


def render(
    template: str,
    *,
    language: str,
    recipient: str,
    message_id: str,
    sent_from: str,
    site: Site,
    context: Context,
) -> EmailMessage:
    """Return the mail that ``template`` makes of ``context``, as text and as HTML.

    ``message_id`` is what tells this mail from all others, such as its id in the outbox: rendered again, it is the same
    mail. What each template needs in its context is in ``samples.py``.

    Raises:
        TemplateFault: the template cannot be rendered.
    """
    locale = Locale.parse(language)
    name = clean_line(site.name)
    values = {
        **describe_context(context, locale),
        "recipient": isolate(clean_line(recipient)),
        "language": language,
        "site": dataclasses.replace(site, name=isolate(name)),
    }
    subject, text, html = _render_parts(template, language, values)
    local, domain = split_email(recipient)
    sender_local, sender_domain = split_email(sent_from)
    # Other characters than ASCII before the @ need a server that knows SMTPUTF8; all others are served without.
    is_ascii = (local + sender_local).isascii()
    message = EmailMessage(policy=email.policy.SMTP if is_ascii else email.policy.SMTPUTF8)
    message["From"] = Address(name, sender_local, sender_domain)
    message["To"] = Address("", local, domain)
    message["Subject"] = clean_line(subject)
    message["Date"] = email.utils.format_datetime(now())
    message["Message-ID"] = f"<{message_id}@{_PORT.sub('', urlsplit(site.url).netloc)}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
    message.set_content(text, cte=_choose_encoding(text))
    message.add_alternative(html, subtype="html", cte=_choose_encoding(html))
    message["Content-Language"] = language  # what sets the content takes away all that is said of it
    return message


def _render_parts(template: str, language: str, values: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return subject, text and HTML."""
    try:
        plain = _make_environment(language, values["site"].templates, is_html=False).get_template(f"{template}.jinja")
        rich = _make_environment(language, values["site"].templates, is_html=True).get_template(f"{template}.jinja")
        subject = "".join(plain.blocks["subject"](plain.new_context({**values})))
        text = _MANY_LINE_BREAKS.sub("\n\n", plain.render(values, layout="layout.txt").strip() + "\n")
        # What lists of mails show beside the subject: the first paragraph after the greeting.
        preheader = text.partition("\n\n")[2].partition("\n\n")[0]
        html = rich.render(values, layout="layout.html", subject=subject, preheader=preheader)
    except Exception as error:  # an operator's template may raise anything
        raise TemplateFault(f"{template}: {type(error).__name__}: {error}") from error
    return subject, text, html


@functools.lru_cache
def find_translations(language: str) -> NullTranslations:
    """Return the words of our mails and pages in ``language``; what is not translated stays English."""
    return Translations.load(FOLDER / "translations", [language])


@functools.lru_cache(maxsize=16)
def _make_environment(language: str, folder: str | None, *, is_html: bool) -> jinja2.Environment:
    """Return what loads templates, those in the operator's ``folder`` before ours."""
    folders = [*([folder] if folder else []), str(FOLDER / "templates")]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=is_html,  # noqa: S701 - text is no HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.filters["fill"] = _fill
    translations = find_translations(language)
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined] # the extension's
    return environment


def _fill(text: str) -> str:
    """Return ``text`` in lines that are easily read; addresses stay whole."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _choose_encoding(text: str) -> str:
    """Return how a part travels: as it is where any server can take it."""
    is_plain = text.isascii() and all(len(line) <= _LINE_MAX_LENGTH for line in text.splitlines())
    return "7bit" if is_plain else "quoted-printable"
