"""The floor: logging, and the family of errors with their HTTP face."""

from __future__ import annotations

import contextvars
import datetime
import json
import logging
import logging.config
import re
import sys
import traceback
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from werkzeug.exceptions import HTTPException, MethodNotAllowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flask import Flask, Response

REFUSAL: Final = "refusal"
"""Where ``flask.g`` holds the ``AppError`` that the request was refused with, if it was."""

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"

logger = logging.getLogger(__name__)


# --- errors ---


class AppError(Exception):
    """A refusal with a name, answered as an RFC 9457 problem.

    Subclass it for each thing that can happen; ``code`` is the stable word that programs rely on, ``detail`` tells a
    person what to do next. A detail never repeats a secret. ``LastAdmin`` has the code ``last_admin`` and the title
    "Last admin" unless it says otherwise; ``has_own_code=False`` leaves it those of what it is a case of.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    detail: str = "Something went wrong on our side. Try again later; if it stays, report the request id."

    def __init_subclass__(cls, *, has_own_code: bool = True) -> None:
        if has_own_code:
            words = re.sub(r"(?<!^)(?=[A-Z])", " ", cls.__name__).lower()
            cls.code = vars(cls).get("code", words.replace(" ", "_"))
            cls.title = vars(cls).get("title", words.capitalize())

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Mapping[str, Sequence[str]] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.detail = detail or type(self).detail
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class BadRequest(AppError):
    """The request as such cannot be read."""

    status = 400
    detail = "The request could not be read."


class MalformedBody(BadRequest):
    """The body is no JSON, or breaks one of its limits."""

    detail = "The body is not valid JSON."


class NotSignedIn(AppError):
    """Nobody is signed in."""

    status = 401
    detail = "Sign in first."


class Forbidden(AppError):
    """The caller is known, and may not do this."""

    status = 403
    detail = "Your account may not do this. Ask an administrator for the permission."


class NotFound(AppError):
    """There is nothing here."""

    status = 404
    detail = "There is nothing at this address."


class Conflict(AppError):
    """The request is fine, but contradicts what is stored."""

    status = 409
    detail = "The request contradicts what is stored."


class InvalidInput(AppError):
    """One or more fields are wrong; ``errors`` names each."""

    status = 422
    detail = "Some fields are wrong; see errors."


class Unavailable(AppError):
    """A part that the answer needs is away or busy."""

    status = 503
    title = "Temporarily unavailable"
    detail = "A part that this answer needs is away. Try again shortly."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)


# The codes of errors that Werkzeug and Flask raise themselves.
HTTP_CODES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "The request could not be read."),
    403: ("forbidden", "This is not allowed."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method; see the Allow header."),
    406: ("not_acceptable", "The answer is not available in a type that you accept."),
    408: ("request_timeout", "The request took too long to arrive."),
    411: ("length_required", "Send a Content-Length."),
    413: ("body_too_large", "The body is too large."),
    414: ("uri_too_long", "The address is too long."),
    415: ("unsupported_media_type", "Send the body as application/json in UTF-8."),
    431: ("headers_too_large", "The headers are too large."),
    500: ("internal_error", AppError.detail),
    501: ("not_implemented", "This method is not implemented."),
    503: ("unavailable", Unavailable.detail),
}


def describe_problem(*, status: int, code: str, title: str, detail: str, request_id: object) -> dict[str, object]:
    """Return the members that every problem has (RFC 9457)."""
    return {
        "type": f"urn:gatehouse:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


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
    from flask import current_app  # noqa: PLC0415 - only the HTTP face needs Flask

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
        from flask import g  # noqa: PLC0415 - only the HTTP face needs Flask

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


# --- logging ---

# What every line logged during one request carries: request_id, user_id.
log_context: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar(
    "log_context", default=MappingProxyType({})
)

# The package, and the lines that operators look for by name.
OUR_LOGGERS: Final = ("app", "gatehouse")
_DRIVERS: Final = frozenset({"psycopg2", "pymysql", "redis", "sqlalchemy", "sqlite3"})
_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def add_log_context(**fields: object) -> None:
    """Add ``fields`` to every line logged in this context from now on."""
    log_context.set({**log_context.get(), **fields})


def describe_stack(error: BaseException) -> list[str]:
    """Return where ``error`` and its causes were raised, as ``file:line function``, without any value or text."""
    places: list[str] = []
    for cause in _list_causes(error):
        places.append(type(cause).__qualname__)
        places += [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(cause.__traceback__)
        ]
    return places


def _list_causes(error: BaseException) -> list[BaseException]:
    """Return ``error``, its cause, the cause of that, and so on."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    # ``raise error from cause`` while ``error`` is being handled makes a circle.
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def describe_text(error: BaseException) -> str | None:
    """Return what ``error`` says; nothing of one that a driver has a hand in.

    Drivers put statements, parameters and connection strings into it.
    """
    modules = {type(cause).__module__.partition(".")[0] for cause in _list_causes(error)}
    return None if modules & _DRIVERS else str(error)


def escape_controls(text: str) -> str:
    """Return ``text`` on one line: control characters, ANSI escapes included, and lone surrogates are spelled out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _collect_fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}
    return {**log_context.get(), **extra}


def _format_time(record: logging.LogRecord) -> str:
    instant = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _collect_exception(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    if record.exc_info and record.exc_info[1] is not None:
        fields["stack"] = describe_stack(record.exc_info[1])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return ``record`` as one line of JSON."""
        fields = _collect_fields(record)
        _collect_exception(record, fields)
        line = {
            "time": _format_time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields,
        }
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line for a person to read, with ``key=value`` at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return ``record`` as one line of text; whatever it holds, it stays one line."""
        fields = _collect_fields(record)
        _collect_exception(record, fields)
        pairs = " ".join(
            f"{key}={json.dumps(value, default=str)}" for key, value in fields.items() if value is not None
        )
        head = f"{_format_time(record)} {record.levelname:<7} {record.name}: {escape_controls(record.getMessage())}"
        return f"{head} {pairs}".rstrip()


def configure_logging(*, level: str, is_json: bool) -> None:
    """Send all logging of this process to standard error, one line a record.

    ``level`` is ours alone: what libraries note below WARNING can be a body, a cookie or a database URL.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    root = logging.getLogger()
    for previous in list(root.handlers):
        if isinstance(previous.formatter, JsonFormatter | TextFormatter):
            root.removeHandler(previous)
    root.addHandler(handler)
    # A record that cannot be formatted is dropped: the report of the fault would show its values, line by line.
    logging.raiseExceptions = False
    root.setLevel(level)
    root.setLevel(max(logging.WARNING, root.level))
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)
