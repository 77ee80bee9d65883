"""``doctor``: find what is wrong, and say what to do about it."""

import dataclasses
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from app.config import ROOT, VAR, Settings
from app.database import TLS_WORDS, DatabaseTarget, DatabaseUnavailable, Diagnosis, diagnose
from app.environment import SettingsError
from app.extensions import db, get_extensions, get_settings, limiter
from app.mail import MailUnavailable, make_transport
from app.ratelimit import RateLimitStoreAway
from app.services import admins, mails

from .migrations import Revisions, find_revisions, list_alike, list_lineages, list_unloaded_tables, list_unmet_needs
from .terminal import Failure, OperatorCommand, Report, spell_command

# Where an application with wrong settings keeps what is wrong.
FAULTS: Final = "settings_faults"

OK: Final = "ok"
WARNING: Final = "warning"
FAULT: Final = "fault"

_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Causes that leave a database's tables readable.
_USABLE: Final = frozenset({"none", "encoding"})
_VERIFYING: Final = frozenset({"verify-ca", "verify-full"})


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: ``status`` is ok, warning or fault, ``remedy`` what to do, ``code`` for programs."""

    check: str
    status: str
    message: str
    remedy: str = ""
    code: str = ""


@click.command("doctor", cls=OperatorCommand)
def doctor_command() -> Report:
    """Check the settings, the database and the first administrator; exit 1 with what to do about each fault."""
    refused: SettingsError | None = current_app.extensions.get(FAULTS)
    if refused is None:
        settings = get_settings()
        findings = [
            Finding("settings", OK, "All settings can be read."),
            *_describe_extensions(),
            *check_files(),
            *check_settings(settings),
            *_check_database(settings),
            *_check_store(settings),
            *_check_mail(settings),
        ]
    else:
        findings = [
            *(Finding(refused.subject, FAULT, fault, refused.remedy) for fault in refused.faults),
            *check_files(),
            Finding("database", WARNING, "Not looked at while settings are wrong.", "Run this again afterwards."),
        ]
    is_ill = any(finding.status == FAULT for finding in findings)
    lines = [line for finding in findings for line in _write(finding)]
    lines.append("Something is wrong." if is_ill else "All is well.")
    data = {"healthy": not is_ill, "findings": [dataclasses.asdict(finding) for finding in findings]}
    return Report(data, lines, exit_code=1 if is_ill else 0)


def _describe_extensions() -> Iterator[Finding]:
    for extension in get_extensions():
        message = f"{extension.name} {extension.version}, face {extension.face}"
        yield Finding("extension", OK, message)


def check_files(*, root: Path = ROOT, var: Path = VAR) -> Iterator[Finding]:
    """Check the files that hold secrets, and look for a ``.env`` of another project."""
    key = var / "secret_key"
    if key.exists():
        is_open = bool(stat.S_IMODE(key.stat().st_mode) & 0o077)
        if is_open:
            yield Finding("secret key file", FAULT, f"{key} can be read by other users.", f"chmod 600 '{key}'")
        else:
            yield Finding("secret key file", OK, "Only its owner can read it.")
    dotenv = root / ".env"
    if dotenv.exists() and stat.S_IMODE(dotenv.stat().st_mode) & 0o077:
        yield Finding(".env", WARNING, f"{dotenv} can be read by other users.", f"chmod 600 '{dotenv}'")
    foreign = Path.cwd() / ".env"
    # Flask's command line loads the .env of the working directory into the environment, which wins.
    if (
        foreign.exists()
        and not (dotenv.exists() and foreign.samefile(dotenv))
        and "FLASK_SKIP_DOTENV" not in os.environ
    ):
        yield Finding(
            ".env",
            WARNING,
            f"{foreign} belongs to another project, but Flask reads it here.",
            "Run commands from the project's folder, or set FLASK_SKIP_DOTENV=1.",
        )


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Look for settings that are valid one by one but do not fit together."""
    public = urlsplit(settings.public_url)
    host = public.hostname or ""
    is_https = public.scheme == "https"
    if settings.session_cookie_secure and not is_https:
        yield Finding(
            "PUBLIC_URL",
            FAULT,
            f"{settings.public_url} is http, but the session's cookie is only sent over https: nobody can sign in.",
            "Set PUBLIC_URL to the https:// URL that people use.",
        )
    elif not is_https and host not in _LOCAL_NAMES:
        yield Finding(
            "PUBLIC_URL",
            FAULT,
            f"{settings.public_url} is http: passwords and cookies travel in the clear.",
            "Put TLS in front, then set PUBLIC_URL to the https:// URL and SESSION_COOKIE_SECURE=true.",
        )
    elif is_https and not settings.session_cookie_secure:
        yield Finding(
            "SESSION_COOKIE_SECURE",
            FAULT,
            "PUBLIC_URL is https, but the session's cookie is also sent over http.",
            "Set SESSION_COOKIE_SECURE=true, or APP_ENV=production.",
        )
    else:
        yield Finding("PUBLIC_URL", OK, settings.public_url)

    allowed = {name.strip("[]") for name in settings.allowed_hosts}
    if not {host, public.netloc} & allowed:
        yield Finding(
            "ALLOWED_HOSTS",
            FAULT,
            f"The host of PUBLIC_URL, {host}, is not among them: its requests are refused.",
            f"Add {host} to ALLOWED_HOSTS.",
        )
    else:
        yield Finding("ALLOWED_HOSTS", OK, ", ".join(settings.allowed_hosts))

    if settings.ratelimit_storage_uri.kind == "memory" and settings.workers > 1:
        yield Finding(
            "RATELIMIT_STORAGE_URI",
            FAULT,
            f"memory:// counts in each of the {settings.workers} workers separately: limits are"
            f" {settings.workers} times what they say.",
            "Set RATELIMIT_STORAGE_URI to a Redis server, or WORKERS=1.",
        )
    if not settings.ratelimit_enabled:
        yield Finding(
            "RATELIMIT_ENABLED", WARNING, "Passwords can be guessed without limit.", "Set RATELIMIT_ENABLED=true."
        )
    if is_https and not settings.trusted_proxies:
        yield Finding(
            "TRUSTED_PROXIES",
            WARNING,
            "PUBLIC_URL is https, so a proxy is in front, but none is trusted: everybody seems to have its IP.",
            "Set TRUSTED_PROXIES to the IPs of the proxies in front, or to their number.",
        )
    yield from _check_transport(settings.database_url)


def _check_transport(target: DatabaseTarget) -> Iterator[Finding]:
    """Check that the connection to the database is encrypted and the server verified."""
    if all(host.is_local for host in target.hosts) or target.tls_mode in _VERIFYING:
        return
    fault = "The database's server is not verified."
    if target.tls_mode == "disable":
        fault = "What is sent to the database is not encrypted."
    remedy = f"Add {TLS_WORDS[target.dialect][0]} to DATABASE_URL."
    yield Finding("database TLS", WARNING, fault, remedy, code=f"tls_{target.tls_mode}")


def _check_database(settings: Settings) -> Iterator[Finding]:
    setup = spell_command("setup")
    url = db.engine.url
    is_missing = db.engine.dialect.name == "sqlite" and url.database and not Path(url.database).exists()
    if is_missing:
        yield Finding("database", FAULT, "There is no database yet.", setup, code="database")
        return
    if url.database and db.engine.dialect.name == "sqlite":
        yield from _check_database_file(Path(url.database))
    diagnoses = diagnose(settings.database_url)
    yield from _describe_hosts(diagnoses)
    if diagnoses and not any(diagnosis.cause in _USABLE for diagnosis in diagnoses):
        return
    try:
        schema = _describe_schema(find_revisions())
        if not diagnoses:
            yield Finding("database", OK, "The file can be read.")
        yield schema
        if schema.status != OK:
            return
        yield from _check_extensions()
        has_admin = admins.has_active_admin()
    except Failure as error:
        yield Finding("migrations", FAULT, error.message, code="schema_unreadable")
        return
    except (SQLAlchemyError, DatabaseUnavailable) as error:
        yield Finding(
            "database",
            FAULT,
            f"Its tables cannot be read ({type(error).__name__}).",
            "Grant this user access to them (GRANT), or name the right database in DATABASE_URL.",
            code="tables",
        )
        return
    if not has_admin:
        remedy = spell_command("user create EMAIL --role admin")
        yield Finding("administrator", FAULT, "There is no active administrator.", remedy)
        return
    yield Finding("administrator", OK, "There is an active administrator.")
    if settings.admin_password:
        yield Finding(
            "ADMIN_PASSWORD", WARNING, "It is still set, but no longer has any effect.", "Remove it from the settings."
        )


def _check_database_file(path: Path) -> Iterator[Finding]:
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        message = f"{path} or its folder cannot be written to."
        remedy = f"Let the user that runs this write to both: chown -R USER '{path.parent}'. Neither may be read-only."
        yield Finding("database file", FAULT, message, remedy, code="file_read_only")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        remedy = f"chmod 600 '{path}'*"
        yield Finding("database file", FAULT, f"{path} can be read by other users.", remedy, code="file_mode")


def _describe_hosts(diagnoses: Sequence[Diagnosis]) -> Iterator[Finding]:
    # Of several hosts one has to take writes; the faults of the others are not urgent.
    is_served = any(diagnosis.cause == "none" for diagnosis in diagnoses)
    for diagnosis in diagnoses:
        if diagnosis.cause == "none":
            yield Finding("database", OK, f"{diagnosis.host}: {diagnosis.fault}")
        elif diagnosis.cause == "read_only" and is_served:
            yield Finding("database", OK, f"{diagnosis.host}: It is a standby.")
        else:
            status = WARNING if is_served else FAULT
            message = f"{diagnosis.host}: {diagnosis.fault}"
            yield Finding("database", status, message, diagnosis.remedy, code=diagnosis.cause)


def _check_extensions() -> Iterator[Finding]:
    for lineage in list_lineages()[1:]:
        yield dataclasses.replace(_describe_schema(find_revisions(lineage)), check=f"migrations of {lineage.owner}")
    for need in list_unmet_needs():
        yield Finding("extension", FAULT, need, code="schema_needs_product")
    for alike in list_alike():
        yield Finding("extension", FAULT, alike, code="extension_name")
    for name, tables in list_unloaded_tables():
        message = f"{name} is not loaded, but has tables: {', '.join(tables)}."
        remedy = f"List it in APP_EXTENSIONS, or drop them: {spell_command(f'extension remove {name} --with-data')}"
        yield Finding("extension", WARNING, message, remedy, code="extension_unloaded")


def _describe_schema(revisions: Revisions) -> Finding:
    if revisions.is_current:
        return Finding("migrations", OK, f"At {revisions.wanted}, the latest one.")
    code, message, remedy = _find_schema_fault(revisions)
    return Finding("migrations", FAULT, message, remedy, code=code)


def _find_schema_fault(revisions: Revisions) -> tuple[str, str, str]:
    """Return the code, what is wrong and what to do about it."""
    upgrade, option = spell_command("setup"), revisions.lineage.option
    if not revisions.are_joined:
        message = f"They end in {revisions.wanted}, one beside the other."
        return "schema_heads", message, f"{revisions.joining_command} and then {upgrade}"
    if revisions.is_interrupted:
        return "schema_interrupted", "A migration ended half-way; the next run finishes it first.", upgrade
    if revisions.unversioned_tables:
        message = f"Which one its tables are at is not known: {', '.join(revisions.unversioned_tables)}."
        return "schema_unversioned", message, spell_command(f"db stamp{option} REVISION")
    if revisions.current is None:
        return "schema_none", "The database has no tables yet.", upgrade
    if revisions.is_ahead:
        message = f"At {revisions.current}, which this version does not know; it knows {revisions.wanted}."
        downgrade = spell_command(f"db downgrade{option} {revisions.wanted}")
        return "schema_ahead", message, f"Run the newer version again, or with it: {downgrade}"
    return "schema_behind", f"At {revisions.current}, but {revisions.wanted} is needed.", upgrade


def _check_store(settings: Settings) -> Iterator[Finding]:
    if settings.ratelimit_storage_uri.kind == "memory" or not settings.ratelimit_enabled:
        return
    try:
        policies = limiter.inspector.find_evicting_policies()
    except RateLimitStoreAway:
        remedy = (
            "Make sure that Redis runs, and that RATELIMIT_STORAGE_URI names the right host, port, user and password."
        )
        yield Finding("rate limits", FAULT, "Their store does not answer.", remedy, code="store_away")
        return
    yield Finding("rate limits", OK, "Their store answers.")
    for policy in policies:
        message = f"When its memory is full, their store drops what was counted: its maxmemory-policy is {policy}."
        remedy = (
            "CONFIG SET maxmemory-policy noeviction, also in Redis' configuration file; give a cache its own Redis."
        )
        yield Finding("rate limits", WARNING, message, remedy, code="store_evicts")


def _check_mail(settings: Settings) -> Iterator[Finding]:
    target = settings.mail_url
    try:
        make_transport(target).check()
    except MailUnavailable as error:
        remedy = "Make sure that it runs, and that MAIL_URL names the right host, port, user, password and ca."
        yield Finding("MAIL_URL", FAULT, str(error), remedy, code="mail_away")
    else:
        if target.kind == "console" and urlsplit(settings.public_url).hostname not in _LOCAL_NAMES:
            message = "Mail is printed and reaches nobody."
            yield Finding("MAIL_URL", WARNING, message, "Set MAIL_URL to a mail server.", code="mail_printed")
        else:
            yield Finding("MAIL_URL", OK, f"Mail can go to {target}.")
    try:
        backlog = mails.count_waiting()
    except (SQLAlchemyError, DatabaseUnavailable):
        return  # Why has been told above.
    if backlog.unclaimed:
        message = f"{backlog.unclaimed} mails are due and nobody sends them."
        remedy = f"Run {spell_command('worker')} beside the server, or set MAIL_IN_PROCESS=true."
        yield Finding("mail", FAULT, message, remedy, code="mail_unclaimed")
    elif backlog.late:
        message = f"{backlog.late} mails wait for more than {mails.LATE.seconds // 60} minutes and are tried again."
        yield Finding("mail", WARNING, message, spell_command("outbox list --state waiting"), code="mail_late")
    else:
        sender = "the server" if settings.mail_in_process else spell_command("worker")
        yield Finding("mail", OK, f"{backlog.waiting} mails wait to be sent, by {sender}.")
    if backlog.dead:
        message = f"{backlog.dead} mails were given up."
        yield Finding("mail", WARNING, message, spell_command("outbox list --state dead"), code="mail_dead")


def _write(finding: Finding) -> list[str]:
    marks = {OK: "ok     ", WARNING: "warning", FAULT: "FAULT  "}
    lines = [f"{marks[finding.status]}  {finding.check}: {finding.message}"]
    return [*lines, f"         -> {finding.remedy}"] if finding.remedy else lines
