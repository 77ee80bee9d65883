"""Files of users, CSV or JSON lines, read line by line into checked rows."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Final

from marshmallow import ValidationError, fields, validate

from app.http.bodies import flatten_messages, parse_json
from app.http.csv_files import FORMULA_START, spell
from app.languages import LANGUAGES
from app.models import NAME_MAX_LENGTH
from app.permissions import ROLE_NAME_MAX_LENGTH
from app.schemas import Input
from app.schemas.values import Email, Instant, Text
from app.security import UnsupportedHash, parse_stored_hash
from app.services.imports import Fault, ImportedUser
from app.utils import MalformedBody

Write = Callable[[Mapping[str, Any]], object]

LINE_MAX_LENGTH: Final = 64 * 1024
ROLES_MAX: Final = 100
# Django marks an account without a password with this.
_NO_PASSWORD: Final = "!"  # noqa: S105 - the mark for none


def _check_hash(text: str) -> None:
    if text and not text.startswith(_NO_PASSWORD):
        try:
            parse_stored_hash(text)
        except UnsupportedHash as error:
            raise ValidationError(str(error)) from error


class ImportInput(Input):
    """A user in a file, as ``user export`` writes it."""

    id = fields.UUID(allow_none=True)
    email = Email(required=True)
    name = Text(max_length=NAME_MAX_LENGTH)
    language = fields.String(allow_none=True, validate=validate.OneOf(LANGUAGES))
    password_hash = fields.String(allow_none=True, validate=_check_hash)
    password_change_required = fields.Boolean(attribute="is_password_change_required")
    is_active = fields.Boolean()
    roles = fields.List(Text(max_length=ROLE_NAME_MAX_LENGTH), validate=validate.Length(max=ROLES_MAX), allow_none=True)
    email_verified_at = Instant(allow_none=True)
    deletion_due_at = Instant(allow_none=True)
    created_at = Instant(allow_none=True)
    updated_at = Instant(allow_none=True)
    last_login_at = Instant(allow_none=True)
    mfa_enabled = fields.Boolean(
        validate=validate.NoneOf([True], error="A second factor cannot be imported."), load_default=False
    )


_SCHEMA: Final = ImportInput()
COLUMNS: Final = tuple(_SCHEMA.fields)


def read_json_lines(lines: Iterable[str]) -> Iterator[ImportedUser | Fault]:
    """Yield each line of a JSON lines file as a user, or its fault."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > LINE_MAX_LENGTH:
            yield Fault(number, "line", f"This is longer than {LINE_MAX_LENGTH} characters.")
            continue
        try:
            values = parse_json(line.encode("utf-8", "surrogateescape"))
        except MalformedBody as error:
            yield Fault(number, "line", error.detail.replace("The body", "The line"))
            continue
        if not isinstance(values, dict):
            yield Fault(number, "line", "This is not a JSON object.")
            continue
        yield from _check(number, values)


def read_csv(lines: Iterable[str]) -> Iterator[ImportedUser | Fault]:
    """Yield each record of a CSV file, after a header, as a user or its faults."""
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Fault(start, "line", f"This is not CSV: {error}.")
            continue
        if not record:
            continue
        if header is None:
            header = [name.strip() for name in record]
            faults = list(_check_header(header, start))
            if faults:
                yield from faults
                return
        elif len(record) != len(header):
            yield Fault(start, "line", f"This has {len(record)} fields, but the header has {len(header)}.")
        else:
            values: dict[str, Any] = {
                name: _read_cell(value) for name, value in zip(header, record, strict=True) if value
            }
            if "roles" in values:
                values["roles"] = values["roles"].replace(",", " ").replace(";", " ").split()
            yield from _check(start, values)


READERS: Final[Mapping[str, Callable[[Iterable[str]], Iterator[ImportedUser | Fault]]]] = {
    "csv": read_csv,
    "jsonl": read_json_lines,
}


def start_json_lines(target: IO[str], _columns: Sequence[str]) -> Write:
    """Return a function that writes a user to ``target`` as a line of JSON."""
    return lambda values: target.write(json.dumps(values) + "\n")


def start_csv(target: IO[str], columns: Sequence[str]) -> Write:
    """Write the header of a CSV file (RFC 4180) that ``read_csv`` reads back and no spreadsheet evaluates.

    Return a function that writes a user as a row.
    """
    writer = csv.writer(target)
    writer.writerow(columns)
    return lambda values: writer.writerow(_make_cell(values[column]) for column in columns)


WRITERS: Final[Mapping[str, Callable[[IO[str], Sequence[str]], Write]]] = {"csv": start_csv, "jsonl": start_json_lines}

# With what was put before it, so that it is read back as it was.
_FORMULA: Final = re.compile(f"'*{FORMULA_START}")


def _make_cell(value: Any) -> str:  # noqa: ANN401 - any value that a schema dumps
    text = " ".join(value) if isinstance(value, list) else spell(value)
    return f"'{text}" if _FORMULA.match(text) else text


def _read_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _check_header(header: list[str], line: int) -> Iterator[Fault]:
    for name in dict.fromkeys(header):
        if name not in COLUMNS:
            yield Fault(line, "header", f"There is no column {name!r}. The columns are: {', '.join(COLUMNS)}.")
        elif header.count(name) > 1:
            yield Fault(line, "header", f"The column {name!r} occurs twice.")
    if "email" not in header:
        yield Fault(line, "header", "The column 'email' is missing.")


def _check(line: int, values: Mapping[str, Any]) -> Iterator[ImportedUser | Fault]:
    try:
        loaded = _SCHEMA.load(values)
    except ValidationError as error:
        for field, reasons in flatten_messages(error.messages).items():
            yield from (Fault(line, field, reason) for reason in reasons)
        return
    del loaded["mfa_enabled"]
    roles = loaded.pop("roles", None)
    if (loaded.get("password_hash") or _NO_PASSWORD).startswith(_NO_PASSWORD):
        loaded["password_hash"] = None
    yield ImportedUser(line=line, roles=None if roles is None else tuple(roles), **loaded)
