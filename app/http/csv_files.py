"""Lists as CSV files (RFC 4180), which a spreadsheet opens without running what somebody typed."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from flask import Flask, Response, current_app

from app.schemas import Output

CSV_CONTENT_TYPE: Final = "text/csv"
FORMULA_START: Final = r"[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
"""What a spreadsheet takes for a formula begins so, in full-width forms too. Source: OWASP, "CSV Injection"."""
_FORMULA: Final = re.compile(FORMULA_START)
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def answer_csv(name: str, schema: type[Output], pages: Iterator[Sequence[Any]]) -> Response:
    """Answer with the file ``NAME.csv``: a line for each row of ``pages``, a column for each field of ``schema``.

    It is sent page by page. The first is read before the answer begins, so that an unavailable database is a problem
    and not half a file; while the client reads, nothing is held.
    """
    dumping = schema(many=True)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - Flask's own way to it
    first = next(pages, ())

    def write() -> Iterator[str]:
        yield write_line(dumping.dump_fields)
        for page in itertools.chain([first], _read_within(app, pages)):
            yield "".join(write_line(row.values()) for row in dumping.dump(page))

    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(write(), mimetype=CSV_CONTENT_TYPE, headers=headers)


def write_line(values: Any) -> str:  # an iterable of what JSON can hold
    """Return a line of a CSV file, in which no text begins as a formula would; numbers stay numbers."""
    line = io.StringIO()
    csv.writer(line).writerow([_defuse(value) for value in values])
    return line.getvalue()


def spell(value: object) -> str:
    """Return a value as the text of a cell: nothing for None, true or false as in JSON."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _defuse(value: object) -> str:
    text = spell(value)
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def _read_within(app: Flask, pages: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Yield ``pages``, each read in a context of its own: that of the request has ended when its answer is sent."""
    while True:
        with app.app_context():
            page = next(pages, None)
        if page is None:
            return
        yield page
