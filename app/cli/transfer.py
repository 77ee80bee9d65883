"""``user export`` and ``user import``."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from app.schemas import UserOutput
from app.security import Actor
from app.services import imports, user_data, users
from app.services.imports import Fault, ImportedUser, ImportRefused

from .rows import READERS, WRITERS
from .terminal import Failure, OperatorCommand, Report, is_json, is_progress_shown, note

STANDARD: Final = "-"
_FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}


@click.command("export", cls=OperatorCommand)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option(
    "--format", "format_", type=click.Choice(sorted(WRITERS)), help="What to write, if the name of FILE does not say."
)
@click.option("--with-hashes", is_flag=True, help="Also write the password hashes. Keep the file safe.")
def export_users(file: str, format_: str | None, *, with_hashes: bool) -> Report:
    """Write every account to FILE, as CSV if it is named .csv, otherwise as JSON lines; - is standard output.

    Only its owner can read the file, and it appears whole or not at all.
    """
    schema = UserOutput(exclude=("extensions",))
    columns = [*schema.fields, *(["password_hash"] if with_hashes else [])]
    start = WRITERS[format_ or _FORMATS.get(Path(file).suffix.lower(), "jsonl")]
    count = 0
    with _open_target(file) as target, _show_progress("Exporting", users.count_users()) as advance:
        write = start(target, columns)
        for page in users.walk_users(actor=Actor.system(), with_hashes=with_hashes):
            for user in page:
                values: dict[str, Any] = schema.dump(user)
                if with_hashes:
                    values["password_hash"] = user.password_hash
                write(values)
            count += len(page)
            advance(len(page))
    left_out = user_data.list_not_exported()
    missing = [f"Left out is what these hold about users: {', '.join(left_out)}."] if left_out else []
    if file == STANDARD:
        # Only the accounts go to standard output.
        for line in (f"Exported {count} accounts.", *missing):
            note(line)
        raise click.exceptions.Exit
    data = {"file": file, "count": count, "with_hashes": with_hashes, "left_out": left_out}
    return Report(data, [f"Exported {count} accounts to {file}.", *missing])


@click.command("import", cls=OperatorCommand)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--format", "format_", type=click.Choice(sorted(READERS)), help="What FILE is, if its name does not say.")
@click.option("--dry-run", is_flag=True, help="Check everything, store nothing.")
def import_users(file: str, format_: str | None, *, dry_run: bool) -> Report:
    """Import the accounts of FILE, CSV or JSON lines: all of them, or none if a line is wrong.

    Password hashes (bcrypt, Argon2, scrypt, PBKDF2) are kept as they are, and replaced when their owner signs in.
    """
    name = format_ or _FORMATS.get(Path(file).suffix.lower())
    if name is None:
        raise click.UsageError("Say what the file is: --format csv or --format jsonl.")
    rows, faults = _read(file, name)
    actor = Actor.system()
    if faults or dry_run:
        # Unreadable lines do not hide the faults of the others.
        faults = sorted([*faults, *imports.find_faults(rows, actor=actor)])
    if not faults and not dry_run:
        try:
            with _show_progress("Importing", len(rows)) as advance:
                imports.import_users(rows, actor=actor, on_progress=advance)
        except ImportRefused as error:
            faults = list(error.faults)
    return _report(file, rows, faults, is_dry=dry_run)


def _report(file: str, rows: Sequence[ImportedUser], faults: Sequence[Fault], *, is_dry: bool) -> Report:
    data = {
        "file": file,
        "imported": 0 if faults or is_dry else len(rows),
        "dry_run": is_dry,
        "faults": [{"line": fault.line, "field": fault.field, "reason": fault.reason} for fault in faults],
    }
    if not faults:
        done = "could be imported" if is_dry else "were imported"
        return Report(data, [f"{len(rows)} accounts {done}."])
    for fault in faults:
        note(f"line {fault.line}: {fault.field}: {fault.reason}")
    count = len({fault.line for fault in faults})
    message = f"{file}: {count} {'line is' if count == 1 else 'lines are'} wrong; nothing was imported."
    if is_json():
        note(f"Error: {message}")
        return Report(data, [], exit_code=1)
    raise Failure(message)


def _read(file: str, name: str) -> tuple[list[ImportedUser], list[Fault]]:
    """Return the rows of a file, and the faults of the lines that are none."""
    rows: list[ImportedUser] = []
    faults: list[Fault] = []
    with _open_source(file) as source:
        size = os.fstat(source.fileno()).st_size if file != STANDARD else 0
        with _show_progress("Reading", size) as advance:
            lines = _count_bytes(source, advance)
            for row in READERS[name](lines):
                if isinstance(row, Fault):
                    faults.append(row)
                else:
                    rows.append(row)
    return rows, faults


def _count_bytes(source: IO[str], advance: Any) -> Iterator[str]:  # noqa: ANN401 - a callback
    for line in source:
        advance(len(line))
        yield line


@contextmanager
def _open_source(file: str) -> Iterator[IO[str]]:
    # Bytes that are not UTF-8 become lone surrogates, which are refused in their line.
    options: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    if file == STANDARD:
        with open(sys.stdin.fileno(), closefd=False, **options) as source:
            yield source
    else:
        with Path(file).open(**options) as source:
            yield source


@contextmanager
def _open_target(file: str) -> Iterator[IO[str]]:
    """Yield a file that only its owner can read and that replaces ``file`` once it is complete."""
    path = Path(file)
    if file == STANDARD:
        yield sys.stdout
        sys.stdout.flush()
        return
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as target:
            yield target
        return
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@contextmanager
def _show_progress(label: str, length: int) -> Iterator[Any]:
    """Yield a function to call with each amount done; a bar on standard error shows the progress to people."""
    if not is_progress_shown() or not length:
        yield lambda _amount: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
