"""Every error as an RFC 9457 problem."""

import json
import logging
from collections.abc import Mapping, Sequence

from flask import Flask, Response, current_app, g
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.utils import (
    HTTP_CODES,
    PROBLEM_CONTENT_TYPE,
    REFUSAL,
    AppError,
    NotSignedIn,
    describe_problem,
    describe_stack,
    describe_text,
    log_context,
)

logger = logging.getLogger(__name__)


def make_problem(
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Mapping[str, Sequence[str]] | None = None,
    retry_after_seconds: int | None = None,
    **extensions: object,
) -> Response:
    """Return a problem+json response (RFC 9457), with the request's id."""
    body = describe_problem(
        status=status, code=code, title=title, detail=detail, request_id=log_context.get().get("request_id")
    )
    if errors is not None:
        body["errors"] = errors
    response = current_app.response_class(json.dumps(body | extensions), status, content_type=PROBLEM_CONTENT_TYPE)
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(max(1, retry_after_seconds))
    return response


def register_error_handlers(app: Flask, *, has_error_texts: bool) -> None:
    """Answer every error of ``app`` as a problem, and log those that nobody expected, with their texts or without."""

    def on_app_error(error: AppError) -> Response:
        setattr(g, REFUSAL, error)
        response = make_problem(
            status=error.status,
            code=error.code,
            title=error.title,
            detail=error.detail,
            errors=error.errors,
            retry_after_seconds=error.retry_after_seconds,
        )
        if error.status == NotSignedIn.status:
            response.headers["WWW-Authenticate"] = 'Bearer realm="gatehouse"'
        return response

    def on_http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return error.get_response()  # type: ignore[return-value] # Werkzeug's sansio base; at run time a Response
        code, detail = HTTP_CODES.get(status, (f"http_{status}", error.description or error.name))
        response = make_problem(status=status, code=code, title=error.name, detail=detail)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    def on_unexpected_error(error: Exception) -> Response:
        text = describe_text(error) if has_error_texts else None
        logger.error("unexpected %s", type(error).__qualname__, extra={"error": text, "stack": describe_stack(error)})
        return make_problem(status=500, code=AppError.code, title=AppError.title, detail=AppError.detail)

    app.register_error_handler(AppError, on_app_error)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_unexpected_error)
