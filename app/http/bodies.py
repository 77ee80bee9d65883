"""JSON bodies, read strictly: what two parsers could read differently is refused."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import marshmallow as ma
from flask import Request
from webargs.flaskparser import FlaskParser
from webargs.multidictproxy import MultiDictProxy
from werkzeug.exceptions import UnsupportedMediaType

from app.utils import InvalidInput, MalformedBody, Message

MAX_BODY_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 16
_PARSED: Final = "gatehouse.json"


def parse_json(body: bytes) -> Any:
    """Return the JSON value of ``body``, which is UTF-8.

    Raises:
        MalformedBody: it is not JSON (RFC 8259), repeats a key, or nests deeper than ``MAX_DEPTH``.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_make_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise MalformedBody("The body is not UTF-8.") from error
    except RecursionError as error:
        raise _TooDeep from error
    except ValueError as error:
        raise MalformedBody from error
    _check_depth(value)
    return value


def read_json(request: Request) -> Any:
    """Return the JSON value of the request's body, parsed once for all who ask; nobody may change it.

    Raises:
        MalformedBody: as ``parse_json``.
    """
    if _PARSED not in request.environ:
        request.environ[_PARSED] = parse_json(request.get_data(cache=True))
    return request.environ[_PARSED]


class _TooDeep(MalformedBody, has_own_code=False):
    detail = f"The body nests deeper than {MAX_DEPTH} levels."


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedBody("The body gives a key twice.")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not a JSON value.")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    raise _TooDeep


class StrictParser(FlaskParser):
    """Reads arguments strictly: unknown ones are refused, in the query too, and each error names its field."""

    DEFAULT_UNKNOWN_BY_LOCATION: Mapping[str, str | None] = {"json": ma.RAISE, "query": ma.RAISE}  # type: ignore[assignment] # webargs declares a plain dict

    def use_args(self, argmap: Any, *args: Any, **options: Any) -> Any:
        """Hand a view what ``argmap`` loads; a schema's class is instantiated once, not for each request."""
        return super().use_args(argmap() if isinstance(argmap, type) else argmap, *args, **options)

    def load_json(self, req: Request, schema: Any) -> Any:
        """Return the request's JSON body.

        Raises:
            UnsupportedMediaType: the body has another type, or is compressed.
            MalformedBody: it is not JSON.
        """
        del schema
        charset = req.mimetype_params.get("charset", "utf-8").lower()
        is_plain = req.headers.get("Content-Encoding", "identity") == "identity"
        if req.mimetype != "application/json" or charset not in {"utf-8", "utf8"} or not is_plain:
            raise UnsupportedMediaType
        return read_json(req)

    def load_querystring(self, req: Request, schema: Any) -> Any:
        """Return the request's query.

        Raises:
            InvalidInput: a parameter is given twice.
        """
        repeated = [name for name, values in req.args.lists() if len(values) > 1]
        if repeated:
            raise InvalidInput(errors={name: [Message("Give this once.", "repeated")] for name in repeated})
        return MultiDictProxy(req.args, schema)

    def handle_error(
        self, error: ma.ValidationError, req: Request, schema: ma.Schema, *, error_status_code: Any, error_headers: Any
    ) -> NoReturn:
        """Raise ``InvalidInput``, which names each wrong field.

        Raises:
            InvalidInput: always.
        """
        del req, schema, error_status_code, error_headers
        messages: Any = error.messages
        location = next(iter(messages))
        raise InvalidInput(errors=flatten_messages(messages[location])) from error


def flatten_messages(messages: Any, path: str = "") -> dict[str, list[str]]:
    """Return Marshmallow's messages by field; an item of a list is named ``field.0``, the whole body ``body``."""
    if not isinstance(messages, dict):
        return {path or "body": [message if isinstance(message, Message) else str(message) for message in messages]}
    flat: dict[str, list[str]] = {}
    for key, value in messages.items():
        flat |= flatten_messages(value, path if key == "_schema" else f"{path}.{key}".lstrip("."))
    return flat
