"""Small pages of our own: they answer the links in mails, and show developers what mails look like."""

from typing import Final

import flask
from flask import Response

from app.extensions import get_settings
from app.http.openapi import Blueprint
from app.http.requests import PAGE_CONTENT_SECURITY_POLICY, get_language
from app.languages import LANGUAGES
from app.mail import SAMPLES, find_translations, make_sender, make_site, render
from app.security import public
from app.utils import NotFound

PAGES: Final = ("change-email", "invitation", "not-me", "reset", "sign-in", "undo-deletion", "verify")
# A mail brings its own styles and, if the operator has one, a logo; it runs nothing.
MAIL_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'unsafe-inline';"
    " img-src https:"
)

blueprint = Blueprint("page", __name__, description="Pages that answer the links in mails")


class PreviewOff(NotFound, has_own_code=False):
    """The operator shows no mails."""

    detail = "There is no preview of mails here. The operator turns it on with MAIL_PREVIEW."


@blueprint.route("/account/<string:page>")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page")
@blueprint.raises(NotFound)
@public
def get_account_page(page: str) -> Response:
    """Show the page that answers a mailed link; the link's token stays in the browser until a button is pressed."""
    if page not in PAGES:
        raise NotFound
    language, settings = get_language(), get_settings()
    text = flask.render_template(
        f"account/{page}.html",
        _=find_translations(language).gettext,
        language=language,
        site=make_site(settings),
        min_length=settings.password_min_length,
        has_passwords="password" in settings.sign_in_methods,
    )
    response = Response(text, mimetype="text/html", headers={"Content-Security-Policy": PAGE_CONTENT_SECURITY_POLICY})
    # The page is the same for everybody who asks in this language; its address has no token in it.
    response.headers["Referrer-Policy"] = "no-referrer"
    response.vary.add("Accept-Language")
    return response


@blueprint.route("/account/colors.css")
@blueprint.response(200, {"type": "string"}, content_type="text/css", description="A style sheet")
@public
def get_colors() -> Response:
    """Get the site's color, for the pages."""
    site = make_site(get_settings())
    text = f".account .button {{ background: {site.accent}; border-color: {site.accent}; color: {site.ink}; }}\n"
    return Response(text, mimetype="text/css")


@blueprint.route("/dev/mail")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page")
@blueprint.raises(PreviewOff)
@public
def show_mail_list() -> Response:
    """Show which mails there are, where the operator shows them."""
    _refuse_preview()
    text = flask.render_template("mail.html", templates=sorted(SAMPLES), languages=LANGUAGES)
    return Response(text, mimetype="text/html", headers={"Content-Security-Policy": PAGE_CONTENT_SECURITY_POLICY})


@blueprint.route("/dev/mail/<string:template>/<string:language>/<string:form>")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A mail")
@blueprint.raises(PreviewOff)
@public
def show_mail(template: str, language: str, form: str) -> Response:
    """Show what a mail looks like, with made-up values."""
    _refuse_preview()
    if template not in SAMPLES or language not in LANGUAGES or form not in {"html", "txt"}:
        raise NotFound
    settings = get_settings()
    message = render(
        template,
        language=language,
        recipient="jane@example.com",
        message_id="preview",
        sent_from=make_sender(settings),
        site=make_site(settings),
        context=SAMPLES[template],
    )
    part = message.get_body(("html" if form == "html" else "plain",))
    text = part.get_content() if part is not None else ""
    if form == "txt":
        text = "".join(f"{name}: {value}\n" for name, value in message.items() if name != "Content-Type") + "\n" + text
    mimetype = "text/html" if form == "html" else "text/plain"
    return Response(text, mimetype=mimetype, headers={"Content-Security-Policy": MAIL_CONTENT_SECURITY_POLICY})


def _refuse_preview() -> None:
    if not get_settings().mail_preview:
        raise PreviewOff
