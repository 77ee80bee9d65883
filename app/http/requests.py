"""What happens around every request: its id, its log line, where it came from, and the headers of its answer."""

import logging
import re
import time
from collections.abc import Iterable
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, g, request
from flask_login import current_user
from flask_talisman import Talisman
from uuid_utils import uuid7
from werkzeug.datastructures import Headers
from werkzeug.http import parse_set_header

from app.config import Settings
from app.database import time_limit
from app.languages import choose_language
from app.security import Actor, Client
from app.utils import BadRequest, escape_controls, log_context

from .proxies import trust_proxies

access_logger = logging.getLogger("gatehouse.access")

REQUEST_ID_HEADER: Final = "X-Request-ID"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~-]{8,128}\Z")
_PORT: Final = re.compile(r":[0-9]{1,5}\Z")
# Load balancers address each server by its IP, and these answers do not depend on the Host.
_PROBES: Final = frozenset({"health.get_live", "health.get_ready"})
# As text, a zone included; what stands in its place at a unix socket may be longer.
_IP_MAX_LENGTH: Final = 45
HSTS_SECONDS: Final = 2 * 365 * 24 * 3600
# A request is answered within 5 s; half a second is for everything else. One unit of work has 4 s of these.
DATABASE_SECONDS: Final = 4.5

CONTENT_SECURITY_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# What our own pages may load: our own files, and nothing else.
PAGE_CONTENT_SECURITY_POLICY: Final = (
    f"{CONTENT_SECURITY_POLICY}; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'"
)


class UnknownHost(BadRequest):
    """The Host header names somebody else."""

    detail = "This server does not answer to that Host. The operator lists its names in ALLOWED_HOSTS."


def install(app: Flask, settings: Settings) -> None:
    """Put the common part around every request of ``app``."""
    app.wsgi_app = _surround(app.wsgi_app, settings)  # type: ignore[method-assign, assignment] # a plain function
    if settings.trusted_proxies:
        app.wsgi_app = trust_proxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign, assignment] # likewise
    allowed_hosts = frozenset(settings.allowed_hosts)

    @app.before_request
    def begin_request() -> None:
        presented = request.headers.get(REQUEST_ID_HEADER)
        request_id = presented if presented and _REQUEST_ID.match(presented) else str(uuid7())
        g.started_at, g.request_id = time.perf_counter(), request_id
        log_context.set({"request_id": request_id})
        host = request.headers.get("Host", "").lower()
        if host not in allowed_hosts and _PORT.sub("", host) not in allowed_hosts and request.endpoint not in _PROBES:
            raise UnknownHost

    @app.after_request
    def end_request(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        # Flask's own way past its proxy, which looks the request up anew for each attribute.
        asked = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - see above
        fields = {
            "route": asked.url_rule.rule if asked.url_rule else None,
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - g.started_at) * 1000, 1),
            "ip": asked.remote_addr,
            "user_agent": asked.headers.get("User-Agent", "")[:256],
        }
        if access_logger.isEnabledFor(logging.INFO):
            # What Logger.info does, but for looking for its caller.
            line = ("%s %s", (asked.method, asked.path), None)
            record = access_logger.makeRecord(access_logger.name, logging.INFO, __file__, 0, *line, extra=fields)
            access_logger.handle(record)
        return response


def _surround(application: WSGIApplication, settings: Settings) -> WSGIApplication:
    """Return ``application`` with the common headers on every answer.

    All that an answer waits for the database, a place in its pool included, is over in ``DATABASE_SECONDS``.
    """
    common = {scheme: _compose_headers(settings, scheme=scheme) for scheme in ("http", "https")}
    names = frozenset(name.lower() for name, _ in common["https"])

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            added = common[environ["wsgi.url_scheme"]]
            # Few answers have any of these already, such as a page with its own policy.
            is_simple = names.isdisjoint(name.lower() for name, _ in headers)
            return start_response(status, headers + added if is_simple else _merge_headers(headers, added), exc_info)

        with time_limit(DATABASE_SECONDS):
            return application(environ, start)

    return call


def _merge_headers(own: list[tuple[str, str]], common: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return an answer's ``own`` headers, and those ``common`` ones that it has not: only static files may be kept."""
    merged = Headers(own)
    for name, value in common:
        if name == "Vary":
            varies = parse_set_header(merged.get(name))
            varies.update(value.split(", "))
            merged[name] = varies.to_header()
        elif name == "Cache-Control" and request.endpoint != "static":
            merged[name] = value
        else:
            merged.setdefault(name, value)
    return list(merged)


def _compose_headers(settings: Settings, *, scheme: str) -> list[tuple[str, str]]:
    """Return the headers that every answer carries: what Talisman puts on one, asked once and not for each answer."""
    asked = Flask("headers", static_folder=None)
    Talisman(
        asked,
        # A redirect would have the client repeat in the clear what it should not have sent in the clear.
        force_https=False,
        strict_transport_security=settings.session_cookie_secure,
        strict_transport_security_max_age=HSTS_SECONDS,
        frame_options="DENY",
        content_security_policy=CONTENT_SECURITY_POLICY,
        referrer_policy="no-referrer",
        permissions_policy={"camera": "()", "geolocation": "()", "microphone": "()"},
    )
    answer = asked.test_client().get("/", base_url=f"{scheme}://localhost")
    return [
        *((name, value) for name, value in answer.headers if name not in {"Content-Type", "Content-Length"}),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
        # Flask-CORS names the Origin only to the origins that are listed.
        ("Vary", "Origin, Cookie" if settings.cors_origins else "Cookie"),
    ]


def get_client() -> Client:
    """Return where the current request came from, and the language that it asks for."""
    return Client(
        ip=(request.remote_addr or "")[:_IP_MAX_LENGTH],
        user_agent=escape_controls(request.headers.get("User-Agent", "")),
        language=get_language(),
    )


def get_language() -> str:
    """Return the language that the current request asks for."""
    return choose_language(request.accept_languages.values())


def get_actor() -> Actor:
    """Return the signed-in caller, for the services."""
    return Actor(
        user_id=current_user.user.id,
        permissions=current_user.user.permissions,
        session_id=current_user.session.id,
        ip=(request.remote_addr or "")[:_IP_MAX_LENGTH],
    )
