"""A small shop whose routes are limited, on the memory store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, request

from app.ratelimit import (
    By,
    Limiter,
    RateLimited,
    parse_limits,
    parse_storage_uri,
)

if TYPE_CHECKING:
    from flask.testing import FlaskClient


def find_account() -> str:
    body = request.get_json(silent=True)
    return str(body.get("email", "")) if isinstance(body, dict) else ""


account = By("account", find_account)


def make_app(
    *, storage: str = "memory://", default: str = "", login: str = "3/minute", is_limited: bool = True, **arguments: Any
) -> tuple[Flask, Limiter]:
    app = Flask("shop")
    limiter = Limiter()
    if is_limited:
        limits = {"login": parse_limits(login)} | ({"default": parse_limits(default)} if default else {})
        limiter.init_app(app, storage=parse_storage_uri(storage), limits=limits, **arguments)

    @app.errorhandler(RateLimited)
    def refuse(error: RateLimited) -> tuple[dict[str, object], int]:
        return {"code": error.code, "retry": error.retry_after_seconds}, error.status

    return app, limiter


def ask(client: FlaskClient, path: str, times: int, **arguments: object) -> list[int]:
    return [client.post(path, **arguments).status_code for _ in range(times)]
