"""The settings: read the environment once, check all of it, freeze it.

To add a setting, add a field to ``Settings`` and a line to ``.env.example``; a test keeps the two in step.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import logging
import os
import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values

from .database import DatabaseTarget, DatabaseUrlError, parse_database_url
from .emails import canonicalize_email
from .ratelimit import StorageUri, StorageUriError, parse_storage_uri
from .ratelimit.plan import ALLOWED_NOTATION, PRECISION_RANGE, Fallback, LimitError, Limits, parse_limits
from .ratelimit.rules import RoleLimits, name_setting, parse_role_limits
from .secret_keys import check_secret_key, keep_secret_key
from .utils import escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parent.parent
VAR: Final = ROOT / "var"

# What the file may hold for the programs beside us.
FOREIGN_PREFIXES: Final = ("FLASK_", "PYTHON", "COMPOSE_", "POSTGRES_", "MYSQL_", "MARIADB_", "REDIS_")
# As alike as REGISTRATON and REGISTRATION; HOSTNAME and HOST are not.
MISSPELT_RATIO: Final = 0.9
LOCAL_HOSTS: Final = "localhost,127.0.0.1,[::1]"
MASK: Final = "********"

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """One or more settings are wrong; the message names each, and what was expected."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("The settings are wrong:\n" + "\n".join(f"  - {fault}" for fault in faults))


_NAME: Final = r"(?P<host>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
_HOST: Final = re.compile(rf"{_NAME}(?::[0-9]{{1,5}})?")
_ORIGIN: Final = re.compile(rf"(?P<scheme>https?)://{_NAME}(?::(?P<port>[0-9]{{1,5}}))?/?")
_PORTS: Final = range(1, 65536)
_IMPLIED_PORTS: Final[Mapping[str, int]] = MappingProxyType({"http": 80, "https": 443})


# --- parsers: text -> value; a ValueError's text completes "NAME: expected …" ---


def _parse_bool(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("true or false")
    return words[text.lower()]


def _parse_int(*, at_least: int, at_most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() would take " 1_0 " and other scripts' digits too.
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(at_most))):
            raise ValueError(f"a whole number from {at_least} to {at_most}")
        value = int(text)
        if not at_least <= value <= at_most:
            raise ValueError(f"a whole number from {at_least} to {at_most}")
        return value

    return parse


def _parse_choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return parse


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse_secret_keys(text: str) -> tuple[str, ...]:
    return tuple(check_secret_key(key) for key in _split(text))


def _parse_origin(text: str) -> str:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or int(match["port"] or 1) not in _PORTS:
        raise ValueError(
            "an address such as https://accounts.example.com, without a path; other scripts as xn--… (punycode)"
        )
    # Browsers leave out the port that the scheme implies.
    is_implied = match["port"] is None or int(match["port"]) == _IMPLIED_PORTS[match["scheme"]]
    return f"{match['scheme']}://{match['host']}" + ("" if is_implied else f":{int(match['port'])}")


def _parse_origins(text: str) -> tuple[str, ...]:
    if "*" in text:
        raise ValueError("exact origins such as https://app.example.com, separated by commas; * is refused")
    return tuple(_parse_origin(part) for part in _split(text))


def _parse_hosts(text: str) -> tuple[str, ...]:
    hosts = _split(text.lower())
    if not hosts or not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError(
            "host names such as accounts.example.com, separated by commas, without scheme or wildcard;"
            " other scripts as xn--… (punycode)"
        )
    return hosts


def _parse_proxies(text: str) -> int | tuple[IpNetwork, ...]:
    if text.isascii() and text.isdigit():
        return _parse_int(at_least=0, at_most=10)(text)
    try:
        return tuple(ipaddress.ip_network(part) for part in _split(text))
    except ValueError:
        raise ValueError(
            "how many proxies stand in front, 0 to 10, or their addresses and networks such as"
            " 10.0.0.5,192.168.0.0/24,2001:db8::/64"
        ) from None


def _parse_limits(text: str) -> Limits:
    try:
        return parse_limits(text)
    except LimitError as error:
        raise ValueError(ALLOWED_NOTATION) from error


def _parse_role_limits(text: str) -> RoleLimits:
    try:
        return parse_role_limits(text)
    except LimitError as error:
        raise ValueError(str(error).removeprefix("expected ")) from error


def _parse_fallback(text: str) -> Fallback:
    return Fallback(_parse_choice(*Fallback)(text))


def _parse_database_url(text: str) -> DatabaseTarget:
    if text.startswith("sqlite:///") and not text.startswith("sqlite:////"):
        # Relative to the project, not to wherever a command happens to be run from.
        path = text.removeprefix("sqlite:///")
        if path and not path.startswith(":memory:"):
            text = f"sqlite:///{ROOT / path}"
    return parse_database_url(text)


def _parse_storage_uri(text: str) -> StorageUri:
    try:
        return parse_storage_uri(text)
    except StorageUriError as error:
        fault, _, allowed = str(error).partition("; expected ")
        raise ValueError(f"{allowed} ({fault})") from None


def _parse_email(text: str) -> str:
    try:
        return canonicalize_email(text)
    except ValueError as error:
        raise ValueError("an e-mail address") from error


def _parse_log_level(text: str) -> str:
    return _parse_choice("DEBUG", "INFO", "WARNING", "ERROR")(text.upper())


def _parse_text(text: str) -> str:
    return text


# --- the settings ---


def _setting(
    parse: Callable[[str], Any],
    default: str | None,
    *,
    production: str | None = None,
    is_secret: bool = False,
) -> Any:  # noqa: ANN401 - like dataclasses.field, it stands in for a value of any type
    """Declare a setting: its parser, and its default as text (``None``: unset) in development and in production."""
    metadata = {
        "parse": parse,
        "default": default,
        "production": default if production is None else production,
        "is_secret": is_secret,
    }
    return dataclasses.field(metadata=metadata, repr=not is_secret)


_SECONDS: Final = _parse_int(at_least=60, at_most=365 * 24 * 3600)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, checked and frozen. ``.env.example`` says what each one means.

    ``APP_ENV`` only chooses defaults; no code asks for it.
    """

    app_env: str = _setting(_parse_choice("development", "testing", "production"), "development")
    secret_key: str = _setting(check_secret_key, None, is_secret=True)
    secret_key_fallbacks: tuple[str, ...] = _setting(_parse_secret_keys, "", is_secret=True)

    database_url: DatabaseTarget = _setting(_parse_database_url, "sqlite:///var/app.db", is_secret=True)
    database_require_tls: bool = _setting(_parse_bool, "false", production="true")

    ratelimit_storage_uri: StorageUri = _setting(_parse_storage_uri, "memory://", is_secret=True)
    ratelimit_enabled: bool = _setting(_parse_bool, "true")
    ratelimit_headers_enabled: bool = _setting(_parse_bool, "true")
    ratelimit_legacy_headers: bool = _setting(_parse_bool, "false")
    ratelimit_store_budget_ms: int = _setting(_parse_int(at_least=5, at_most=1000), "25")
    ratelimit_fallback: Fallback = _setting(_parse_fallback, "local")
    ratelimit_precision: int = _setting(_parse_int(at_least=PRECISION_RANGE[0], at_most=PRECISION_RANGE[-1]), "100")
    ratelimit_default: Limits = _setting(_parse_limits, "600/minute")
    ratelimit_login: Limits = _setting(_parse_limits, "10/minute;50/hour")
    ratelimit_login_address: Limits = _setting(_parse_limits, "30/minute;300/hour")
    ratelimit_register: Limits = _setting(_parse_limits, "10/minute;60/hour")
    ratelimit_roles: RoleLimits | None = _setting(_parse_role_limits, "")

    trusted_proxies: int | tuple[IpNetwork, ...] = _setting(_parse_proxies, "0")
    public_url: str = _setting(_parse_origin, "http://127.0.0.1:8000")
    allowed_hosts: tuple[str, ...] = _setting(_parse_hosts, LOCAL_HOSTS, production="")
    cors_origins: tuple[str, ...] = _setting(_parse_origins, "")

    registration: str = _setting(_parse_choice("open", "closed"), "open")
    admin_email: str | None = _setting(_parse_email, "admin@example.com", production="")
    admin_password: str | None = _setting(_parse_text, None, is_secret=True)

    password_min_length: int = _setting(_parse_int(at_least=8, at_most=64), "15")
    password_hashing_concurrency: int = _setting(_parse_int(at_least=1, at_most=256), str(os.cpu_count() or 1))
    session_lifetime: int = _setting(_SECONDS, str(12 * 3600))
    session_idle_timeout: int = _setting(_SECONDS, str(2 * 3600))
    remember_lifetime: int = _setting(_SECONDS, str(30 * 24 * 3600))
    session_cookie_secure: bool = _setting(_parse_bool, "false", production="true")

    log_level: str = _setting(_parse_log_level, "INFO")
    log_format: str = _setting(_parse_choice("text", "json"), "text", production="json")
    log_error_texts: bool = _setting(_parse_bool, "true", production="false")

    host: str = _setting(_parse_text, "127.0.0.1")
    port: int = _setting(_parse_int(at_least=1, at_most=65535), "8000")
    workers: int = _setting(_parse_int(at_least=1, at_most=256), "1", production=str(min(os.cpu_count() or 1, 8)))
    threads: int = _setting(_parse_int(at_least=1, at_most=256), "16")
    shutdown_delay: int = _setting(_parse_int(at_least=0, at_most=300), "0", production="5")
    shutdown_timeout: int = _setting(_parse_int(at_least=1, at_most=300), "30")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings that ``environ`` spells out, defaults for the rest.

        Raises:
            SettingsError: one or more values are wrong; the message names all of them and shows no secret.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        is_production = environ.get("APP_ENV", "") == "production"
        for field in dataclasses.fields(cls):
            name = field.name.upper()
            text = environ.get(name, "") or field.metadata["production" if is_production else "default"]
            if text is None:
                values[field.name] = None
                continue
            try:
                # Nothing is a value too: no keys, no origins, no administrator.
                if text == "":
                    values[field.name] = () if str(field.type).startswith("tuple") else None
                else:
                    values[field.name] = field.metadata["parse"](text)
            except ValueError as error:
                # An address may carry a password where none belongs.
                is_secret = field.metadata["is_secret"] or ("://" in text and "@" in text)
                shown = "" if is_secret else f", got {text[:80]!r}"
                faults.append(f"{name}: expected {error}{shown}")
        faults += _find_cross_faults(values)
        if faults:
            raise SettingsError(faults)
        return cls(**values)

    @property
    def rate_limits(self) -> dict[str, Limits]:
        """The limits that have a name."""
        return {name: getattr(self, field) for name, field in _name_limits().items()}

    def describe(self) -> dict[str, object]:
        """Return every setting by its name in the environment, secrets masked."""
        return {
            field.name.upper(): MASK if field.metadata["is_secret"] and value else _show(value)
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
        }


def _show(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(str, value))
    return value if value is None or isinstance(value, bool | int) else str(value)


def _name_limits() -> dict[str, str]:
    """Return the fields that hold limits, by what those are called."""
    fields = [field.name for field in dataclasses.fields(Settings) if field.metadata["parse"] is _parse_limits]
    return {name_setting(name.upper()): name for name in fields}


def _find_cross_faults(values: Mapping[str, Any]) -> list[str]:
    """Name what is wrong between settings that are right one by one."""
    faults: list[str] = []
    if "secret_key" in values and values["secret_key"] is None:
        faults.append(
            "SECRET_KEY: expected a key, got none;"
            " make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if values.get("database_require_tls") and "database_url" in values:
        try:
            values["database_url"].refuse_clear_text()
        except DatabaseUrlError as error:
            faults.append(f"DATABASE_URL: expected {error}")
    if values.get("ratelimit_roles"):
        try:
            values["ratelimit_roles"].check_names(_name_limits())
        except LimitError as error:
            faults.append(f"RATELIMIT_ROLES: {error}")
    if values.get("allowed_hosts") == ():
        faults.append("ALLOWED_HOSTS: expected the host names that this server answers to, got none")
    if values.get("admin_password") and not values.get("admin_email", True):
        faults.append("ADMIN_EMAIL: expected the address that ADMIN_PASSWORD belongs to, got none")
    return faults


def load_settings(
    environ: Mapping[str, str] | None = None, *, dotenv: Path = ROOT / ".env", var: Path = VAR
) -> Settings:
    """Return the settings of this process: the environment first, then the file ``.env``, then the defaults.

    Outside production, a missing ``SECRET_KEY`` is made once and kept in ``var``, readable by its owner only.

    Raises:
        SettingsError: one or more values are wrong.
    """
    surroundings = os.environ if environ is None else environ
    file = dotenv_values(dotenv)
    merged = {name: value for name, value in file.items() if value is not None}
    merged.update({name: value for name, value in surroundings.items() if value})
    if not merged.get("SECRET_KEY") and merged.get("APP_ENV", "") != "production":
        merged["SECRET_KEY"] = keep_secret_key(var / "secret_key")
    misspelt = _find_misspelt(surroundings, file)
    try:
        settings = Settings.from_environ(merged)
    except SettingsError as error:
        raise SettingsError([*error.faults, *misspelt]) from None
    if misspelt:
        raise SettingsError(misspelt)
    return settings


def _find_misspelt(environ: Mapping[str, str], file: Mapping[str, str | None]) -> list[str]:
    """Name what is meant to be a setting and is none: all that is alike, and whatever else stands in the file.

    Both hold what belongs to others too, such as a container's own variables; but a name that is almost one of ours can
    hardly be theirs.
    """
    names = [field.name.upper() for field in dataclasses.fields(Settings)]
    faults = []
    for name in {**environ, **file}:
        alike = difflib.get_close_matches(name.upper(), names, n=1, cutoff=MISSPELT_RATIO)
        if alike and name not in names:
            faults.append(f"{name}: expected a setting that there is; did you mean {alike[0]}?")
        elif name in file and name not in names and not name.startswith(FOREIGN_PREFIXES):
            logger.warning("the file .env sets %s, which is no setting of ours", escape_controls(name))
    return faults
