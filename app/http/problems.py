"""Every error as an RFC 9457 problem."""

import json
import logging
from typing import Any, Final

from flask import Flask, Response, current_app, g
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.utils import (
    HTTP_CODES,
    PROBLEM_CONTENT_TYPE,
    REFUSAL,
    AppError,
    Message,
    NotSignedIn,
    describe_problem,
    describe_stack,
    describe_text,
    log_context,
)

logger = logging.getLogger(__name__)

# The code of a text that has none of its own.
UNNAMED: Final = "invalid"


def make_problem(error: AppError, **extensions: object) -> Response:
    """Return ``error`` as a problem+json response (RFC 9457), with the request's id and members of its own."""
    if error.errors is not None:
        extensions["errors"] = error.errors
        extensions["error_codes"] = {
            field: [_describe_message(message) for message in messages] for field, messages in error.errors.items()
        }
    response = _respond(error.status, error.code, error.title, error.detail, **extensions)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(max(1, error.retry_after_seconds))
    return response


def _describe_message(message: str) -> dict[str, Any]:
    return {"code": message.code, **message.parameters} if isinstance(message, Message) else {"code": UNNAMED}


def _respond(status: int, code: str, title: str, detail: str, **extensions: object) -> Response:
    request_id = log_context.get().get("request_id")
    body = describe_problem(status=status, code=code, title=title, detail=detail, request_id=request_id)
    return current_app.response_class(
        json.dumps(body | extensions, default=str), status, content_type=PROBLEM_CONTENT_TYPE
    )


def register_error_handlers(app: Flask, *, has_error_texts: bool) -> None:
    """Answer every error of ``app`` as a problem, and log those that nobody expected, with their texts or without."""

    def on_app_error(error: AppError) -> Response:
        setattr(g, REFUSAL, error)
        response = make_problem(error)
        if error.status == NotSignedIn.status:
            response.headers["WWW-Authenticate"] = 'Bearer realm="gatehouse"'
        return response

    def on_http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return error.get_response()  # type: ignore[return-value] # Werkzeug's sansio base; at run time a Response
        code, detail = HTTP_CODES.get(status, (f"http_{status}", error.description or error.name))
        response = _respond(status, code, error.name, detail)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    def on_unexpected_error(error: Exception) -> Response:
        text = describe_text(error) if has_error_texts else None
        logger.error("unexpected %s", type(error).__qualname__, extra={"error": text, "stack": describe_stack(error)})
        return make_problem(AppError())

    app.register_error_handler(AppError, on_app_error)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_unexpected_error)
