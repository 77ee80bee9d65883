"""Logging, and the family of errors."""

import contextvars
import functools
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Final, Self, TextIO

from pythonjsonlogger.core import BaseJsonFormatter

REFUSAL: Final = "refusal"
"""Where ``flask.g`` holds the ``AppError`` that the request was refused with, if it was."""

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"


# --- errors ---


class Message(str):
    """What is wrong with a field, in words for people, with a stable ``code`` and what words in any language need.

    ``Message("Use at most 9 tags.", "too_many", max=9)`` is answered as that text in ``errors``, and as
    ``{"code": "too_many", "max": 9}`` in ``error_codes``. No parameter repeats a secret.
    """

    __slots__ = ("code", "parameters")

    code: str
    parameters: Mapping[str, Any]

    def __new__(cls, text: str, code: str, /, **parameters: Any) -> Self:  # noqa: ANN401 - JSON
        """Make a message of ``text``; ``parameters`` are values of JSON."""
        message = super().__new__(cls, text)
        message.code = code
        message.parameters = parameters
        return message

    def __getnewargs_ex__(self) -> tuple[tuple[str, str], dict[str, Any]]:
        """Say what a copy is made of: flask-smorest copies what describes a view, the checks of its fields included."""
        return (str(self), self.code), dict(self.parameters)


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
    """One or more fields are wrong; ``errors`` names each, with texts, those of ``Message`` with codes."""

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


# --- logging ---

# What every line logged during one request carries: request_id, user_id.
log_context: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar(
    "log_context", default=MappingProxyType({})
)

# Our package, whatever it is installed as, and the lines that operators look for by name.
OUR_LOGGERS: Final = frozenset({__name__.partition(".")[0], "gatehouse"})
_DRIVERS: Final = frozenset({"psycopg2", "pymysql", "redis", "sqlalchemy", "sqlite3"})
_encode: Final = json.JSONEncoder(default=str).encode


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


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


@functools.lru_cache(maxsize=2)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class _Formatter(BaseJsonFormatter):
    """What both forms of a line hold: its time, level, logger and message, what the context and its caller add."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "stack"}
        super().__init__(["asctime", "levelname", "name", "message"], rename_fields=names)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, {**log_context.get(), **message_dict})

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's
        return f"{_format_second(int(record.created))}.{int(record.msecs):03d}Z"

    def formatException(self, ei: _ExcInfo) -> list[str]:  # type: ignore[override]  # noqa: N802 - as its base does
        return describe_stack(ei[1]) if ei[1] is not None else []


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Return one line of JSON."""
        log_data["level"] = str(log_data["level"]).lower()
        return _encode(log_data)


class TextFormatter(_Formatter):
    """One line for a person to read, with ``key=value`` at its end."""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Return one line of text; whatever it holds, it stays one line."""
        when, level, name, message = (log_data.pop(key) for key in ("time", "level", "logger", "message"))
        pairs = [f"{key}={_encode(value)}" for key, value in log_data.items() if value is not None]
        return " ".join([escape_controls(f"{when} {level:<7} {name}: {message}"), *pairs])


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's
        """Drop what cannot be formatted: the standard report of the fault would show its values, line by line."""


def configure_logging(*, level: str, is_json: bool) -> None:
    """Send all logging of this process to standard error, one line a record.

    ``level`` is ours alone: what libraries note below WARNING can be a body, a cookie or a database URL.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _Handler)), handler]
    root.setLevel(level)
    root.setLevel(max(logging.WARNING, root.level))
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)
