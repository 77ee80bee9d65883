"""What happens around every request: its id, its log line, where it came from, and the headers of its answer."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Final

from flask import Flask, g, request
from flask_login import current_user
from flask_talisman import Talisman
from uuid_utils.compat import uuid7

from app.database import time_limit
from app.security import Actor, Client
from app.utils import BadRequest, add_log_context, escape_controls, log_context

from .proxies import trust_proxies

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Response

    from app.config import Settings

access_logger = logging.getLogger("gatehouse.access")

REQUEST_ID_HEADER: Final = "X-Request-ID"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~-]{8,128}\Z")
_PORT: Final = re.compile(r":[0-9]{1,5}\Z")
# Load balancers address each server by its IP, and these answers do not depend on the Host.
_PROBES: Final = frozenset({"health.get_live", "health.get_ready"})
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
    app.wsgi_app = _limit_database_time(app.wsgi_app)  # type: ignore[method-assign, assignment] # a plain function
    if settings.trusted_proxies:
        app.wsgi_app = trust_proxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign, assignment] # likewise
    allowed_hosts = frozenset(settings.allowed_hosts)

    @app.before_request
    def begin_request() -> None:
        g.started_at = time.perf_counter()
        presented = request.headers.get(REQUEST_ID_HEADER, "")
        g.request_id = presented if _REQUEST_ID.match(presented) else str(uuid7())
        log_context.set({})
        add_log_context(request_id=g.request_id)
        is_probe = request.endpoint in _PROBES
        if not is_probe and not _is_allowed_host(request.headers.get("Host", ""), allowed_hosts):
            raise UnknownHost

    over_http, over_https = (_compose_headers(settings, scheme=scheme) for scheme in ("http", "https"))
    names = frozenset(name.lower() for name, _ in over_https)

    @app.after_request
    def end_request(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        common = over_https if request.is_secure else over_http
        # To add all at once costs an eighth of looking for each.
        if names.isdisjoint(name.lower() for name in response.headers.keys()):  # noqa: SIM118 - iterates over pairs
            response.headers.extend(common)
        else:
            _add_missing_headers(response, common)
        _log_access(response)
        return response


def _add_missing_headers(response: Response, common: list[tuple[str, str]]) -> None:
    """Add ``common`` to an answer that has some of them already, such as a page with its own policy."""
    for name, value in common:
        if name == "Vary":
            response.vary.update(value.split(", "))
        elif name != "Cache-Control":
            response.headers.setdefault(name, value)
        elif request.endpoint != "static":
            response.headers[name] = value


def _log_access(response: Response) -> None:
    access_logger.info(
        "%s %s",
        request.method,
        request.path,
        extra={
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - g.started_at) * 1000, 1),
            "ip": request.remote_addr,
            "user_agent": request.headers.get("User-Agent", "")[:256],
        },
    )


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


def _limit_database_time(application: WSGIApplication) -> WSGIApplication:
    """Let all that a request waits for its database, its pool included, be over in ``DATABASE_SECONDS``."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with time_limit(DATABASE_SECONDS):
            return application(environ, start_response)

    return call


def get_client() -> Client:
    """Return where the current request came from."""
    return Client(
        ip=(request.remote_addr or "")[:45], user_agent=escape_controls(request.headers.get("User-Agent", ""))
    )


def get_actor() -> Actor:
    """Return the signed-in caller, for the services."""
    return Actor(
        user_id=current_user.user.id,
        permissions=current_user.permissions,
        session_id=current_user.session.id,
        ip=get_client().ip,
    )


def _is_allowed_host(host: str, allowed: frozenset[str]) -> bool:
    name = host.lower()
    return name in allowed or _PORT.sub("", name) in allowed
