"""What all commands share: a report on standard output, one clear line on standard error, an exit code."""

import dataclasses
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click
from flask.cli import ScriptInfo, with_appcontext
from marshmallow import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.database import DatabaseUnavailable
from app.database.locks import LockTimeout
from app.emails import canonicalize_email
from app.http.bodies import flatten_messages
from app.utils import AppError, describe_stack, escape_controls

logger = logging.getLogger(__name__)

_JSON: Final = "gatehouse.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a command found or did: ``data`` is printed for programs (``--json``), ``lines`` for people."""

    data: object
    lines: Sequence[str]
    exit_code: int = 0


class Failure(click.ClickException):
    """The command failed; the message is one line, the exit code 1."""

    def format_message(self) -> str:
        """Return the message on one line."""
        return escape_controls(self.message)


def spell_command(arguments: str) -> str:
    """Return ``arguments`` as a command to type, called as this one was: ``flask --app run setup``."""
    # Tests of extensions migrate outside of any command.
    context = click.get_current_context(silent=True)
    info = None if context is None else context.find_object(ScriptInfo)
    called = info.app_import_path if info is not None else None
    return f"flask --app {shlex.quote(called)} {arguments}" if called else f"flask {arguments}"


class OperatorCommand(click.Command):
    """A command that returns a ``Report`` and takes ``--json``; none of its errors shows a traceback."""

    def __init__(self, name: str, callback: Callable[..., Report], **options: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(name, callback=with_appcontext(callback), **options)
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON for programs."))

    def invoke(self, ctx: click.Context) -> None:
        """Run the command and print its report."""
        as_json = ctx.meta[_JSON] = ctx.params.pop("as_json")
        try:
            report: Report = super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except DatabaseUnavailable as error:
            raise Failure(f"{_describe(error)} For details: {spell_command('doctor')}") from error
        except AppError as error:
            raise Failure(_describe(error)) from error
        except OSError as error:
            # The whole text of a driver's error may hold secrets.
            where = f"{error.filename}: " if isinstance(error.filename, str) else ""
            raise Failure(f"{where}{error.strerror or type(error).__name__}") from error
        except LockTimeout as error:
            raise Failure(str(error)) from error
        except SQLAlchemyError as error:
            logger.debug("the database failed", extra={"stack": describe_stack(error)})
            message = f"The database failed ({type(error).__name__}). For details: {spell_command('doctor')}"
            raise Failure(message) from error
        except Exception as error:
            logger.debug("a command failed", extra={"stack": describe_stack(error)})
            message = f"Unexpected {type(error).__name__}: this is a bug. LOG_LEVEL=DEBUG shows where."
            raise Failure(message) from error
        if as_json:
            say(json.dumps(report.data, indent=2))
        else:
            for line in report.lines:
                say(escape_controls(line))
        ctx.exit(report.exit_code)


class OperatorGroup(click.Group):
    """A group of operator commands."""

    command_class = OperatorCommand


class EmailType(click.ParamType[str]):
    """An e-mail address as an argument, in its canonical form."""

    name = "email"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the canonical form of ``value``."""
        try:
            return canonicalize_email(value)
        except ValueError:
            self.fail(f"{value!r} is not an e-mail address.", param, ctx)


EMAIL: Final = EmailType()


def say(text: str, *, err: bool = False) -> None:
    """Print a line in any encoding; what the terminal cannot show is escaped."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def note(text: str) -> None:
    """Print a remark to standard error, which programs do not read."""
    say(escape_controls(text), err=True)


def is_json() -> bool:
    """Say whether the running command was asked for JSON."""
    return bool(click.get_current_context().meta.get(_JSON))


def is_progress_shown() -> bool:
    """Say whether a progress bar is to be shown."""
    return not is_json() and sys.stderr.isatty()


def load(schema: Any, values: Mapping[str, object]) -> dict[str, Any]:  # noqa: ANN401 - Marshmallow's schemas
    """Return ``values`` checked by ``schema``.

    Raises:
        Failure: naming what is wrong.
    """
    try:
        loaded: dict[str, Any] = schema.load(values)
    except ValidationError as error:
        raise Failure(_join(flatten_messages(error.messages))) from error
    return loaded


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return aligned lines, the header first."""
    cells = [list(header), *([escape_controls(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _describe(error: AppError) -> str:
    return _join(error.errors) if error.errors else error.detail


def _join(errors: Mapping[str, Iterable[str]]) -> str:
    return "; ".join(f"{field}: {text}" for field, texts in errors.items() for text in texts)
