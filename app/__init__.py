"""Gatehouse: accounts, roles and rate limits. Read ``create_app`` from top to bottom."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask

from . import models
from .cli import Commands
from .config import Settings
from .database import make_engine
from .extending import Extension
from .extensions import csrf, db, defer_migrations, limiter, login_manager
from .http import requests
from .http.bodies import MAX_BODY_BYTES
from .http.limits import find_caller, follow_changes
from .http.openapi import make_api
from .http.origins import allow_origins
from .http.problems import register_error_handlers
from .product import load_extensions, warn_of_unknown_names
from .ratelimit import Limits
from .routes import BLUEPRINTS
from .security import (
    PasswordHasher,
    PasswordPolicy,
    Principal,
    SessionCookies,
    check_guards,
    enforce_guard,
    protect_from_csrf,
    public,
)
from .security.sessions import carries_bearer
from .services.sessions import find_principal
from .utils import configure_logging

__version__ = "0.1.0"


class _App(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``func``: no view here is a coroutine, and to look costs a dozen times a request."""
        return func


def create_app(settings: Settings, extensions: Sequence[Extension] = ()) -> Flask:
    """Return the application that ``settings`` describe; it holds no connection yet.

    It has the extensions that ``settings`` list, then ``extensions``.

    Raises:
        ExtensionsRefused: extensions are not in order; nothing of them is registered.
    """
    configure_logging(level=settings.log_level, is_json=settings.log_format == "json")
    app = _App(__name__)
    app.extensions["settings"] = settings
    app.extensions["extending"] = extending = load_extensions(settings, extensions)
    warn_of_unknown_names(settings, extending)
    app.config.update(_make_flask_config(settings))
    app.session_interface = SessionCookies()
    # Werkzeug would answer //users with a redirect, which is of no use to a client of an API.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined] # Flask's default provider has it

    # The order is the order of a request: its id and host, its limits, CSRF, then who may call.
    requests.install(app, settings)
    if settings.ratelimit_enabled:
        _limit_requests(app, settings, extending.limits)
    csrf.init_app(app)
    app.before_request(protect_from_csrf)
    app.before_request(enforce_guard)
    allow_origins(app, settings.cors_origins)
    register_error_handlers(app, has_error_texts=settings.log_error_texts)

    # A quarter of the threads, at least one, is left for the other routes.
    most_waiting = max(1, settings.threads - max(1, settings.threads // 4))
    db.init_app(app, make_engine(settings.database_url, most_connections=most_waiting))
    defer_migrations(app)
    app.extensions["password_hasher"] = PasswordHasher(concurrency=settings.hashes_at_once, capacity=most_waiting)
    app.extensions["password_policy"] = PasswordPolicy(min_length=settings.password_min_length)
    login_manager.init_app(app)
    login_manager.user_loader(_load_principal)

    app.extensions["api"] = make_api(app, version=__version__, cookie_name=app.config["SESSION_COOKIE_NAME"])
    app.extensions["api"].register_blueprints((*BLUEPRINTS, *extending.blueprints))
    public(app.view_functions["static"])
    app.cli = Commands(app, extending.commands)
    app.shell_context_processor(lambda: {"db": db, "settings": settings} | vars(models))
    limiter.check(app)
    check_guards(app, extending.declared)
    return app


def _limit_requests(app: Flask, settings: Settings, added: Mapping[str, Limits]) -> None:
    follow_changes(app)
    limiter.init_app(
        app,
        storage=settings.ratelimit_storage_uri,
        limits={**settings.rate_limits, **added},
        roles=settings.ratelimit_roles,
        find_caller=find_caller,
        has_headers=settings.ratelimit_headers_enabled,
        has_legacy_headers=settings.ratelimit_legacy_headers,
        budget_ms=settings.ratelimit_store_budget_ms,
        fallback=settings.ratelimit_fallback,
        precision=settings.ratelimit_precision,
        workers=settings.workers,
        most_waiting=max(1, settings.threads // 2),
    )


def _make_flask_config(settings: Settings) -> dict[str, object]:
    return {
        "SECRET_KEY": settings.secret_key,
        "SECRET_KEY_FALLBACKS": list(settings.secret_key_fallbacks),
        "SESSION_COOKIE_NAME": "__Host-session" if settings.session_cookie_secure else "session",
        "SESSION_COOKIE_SECURE": settings.session_cookie_secure,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        # The row says when a session ends; the cookie only has to live as long as the longest.
        "PERMANENT_SESSION_LIFETIME": max(settings.session_lifetime, settings.remember_lifetime),
        "SESSION_REFRESH_EACH_REQUEST": False,
        "SESSION_PROTECTION": None,
        "MAX_CONTENT_LENGTH": MAX_BODY_BYTES,
        # Checked by protect_from_csrf, which knows of guards, bearer tokens and former keys.
        "WTF_CSRF_CHECK_DEFAULT": False,
        "WTF_CSRF_TIME_LIMIT": None,
    }


def _load_principal(token: str) -> Principal | None:
    return None if carries_bearer() else find_principal(token)
