"""The settings: read the environment once, check all of it, freeze it.

To add a setting, add a field to ``Settings`` and a line to ``.env.example``; a test keeps the two in step.
"""

import dataclasses
import difflib
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from dotenv import dotenv_values

from .database import DatabaseTarget, DatabaseUrlError, parse_database_url
from .emails import canonicalize_email
from .environment import (
    SettingsError,
    describe_values,
    list_settings,
    parse_bool,
    parse_choice,
    parse_int,
    parse_text,
    read_values,
    setting,
    split_list,
)
from .mail_url import MailTarget, parse_mail_url
from .ratelimit import StorageUri, parse_storage_uri
from .ratelimit.plan import PRECISION_RANGE, Fallback, Limits, parse_limits
from .ratelimit.rules import RoleLimits, name_setting, parse_role_limits
from .secret_keys import check_secret_key, keep_secret_key

# Where .env, var/ and relative paths are. In a clone that is its folder, wherever a command is run from; an installed
# package, which is gatehouse._app, has no folder of its own that anything should be written to.
IS_INSTALLED: Final = __name__.startswith("gatehouse.")
ROOT: Final = Path.cwd() if IS_INSTALLED else Path(__file__).resolve().parents[1]
VAR: Final = ROOT / "var"

# What the file may hold for the programs beside us.
FOREIGN_PREFIXES: Final = ("FLASK_", "PYTHON", "COMPOSE_", "POSTGRES_", "MYSQL_", "MARIADB_", "REDIS_")
# As alike as REGISTRATON and REGISTRATION; HOSTNAME and HOST are not.
MISSPELT_RATIO: Final = 0.9
SIGN_IN_METHODS: Final = ("password", "mail_link", "mail_code")
LINE_MAX_LENGTH: Final = 100
LOCAL_HOSTS: Final = "localhost,127.0.0.1,[::1]"

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


_NAME: Final = r"(?P<host>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
_HOST: Final = re.compile(rf"{_NAME}(?::[0-9]{{1,5}})?")
_ORIGIN: Final = re.compile(rf"(?P<scheme>https?)://{_NAME}(?::(?P<port>[0-9]{{1,5}}))?/?")
_PORTS: Final = range(1, 65536)
_LOGO: Final = re.compile(r"https://[^\s\"'<>\\]{1,500}")
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_IMPLIED_PORTS: Final = {"http": 80, "https": 443}


# --- parsers: text -> value; a ValueError's text completes "NAME: expected …" ---


def _parse_secret_keys(text: str) -> tuple[str, ...]:
    return tuple(check_secret_key(key) for key in split_list(text))


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
    return tuple(_parse_origin(part) for part in split_list(text))


def _parse_hosts(text: str) -> tuple[str, ...]:
    hosts = split_list(text.lower())
    if not hosts or not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError(
            "host names such as accounts.example.com, separated by commas, without scheme or wildcard;"
            " other scripts as xn--… (punycode)"
        )
    return hosts


def _parse_proxies(text: str) -> int | tuple[IpNetwork, ...]:
    if text.isascii() and text.isdigit():
        return parse_int(at_least=0, at_most=10)(text)
    try:
        return tuple(ipaddress.ip_network(part) for part in split_list(text))
    except ValueError:
        raise ValueError(
            "how many proxies stand in front, 0 to 10, or their addresses and networks such as"
            " 10.0.0.5,192.168.0.0/24,2001:db8::/64"
        ) from None


def _parse_database_url(text: str) -> DatabaseTarget:
    if text.startswith("sqlite:///") and not text.startswith("sqlite:////"):
        # Relative to the project, not to wherever a command happens to be run from.
        path = text.removeprefix("sqlite:///")
        if path and not path.startswith(":memory:"):
            text = f"sqlite:///{ROOT / path}"
    return parse_database_url(text)


def _parse_mail_url(text: str) -> MailTarget:
    target = parse_mail_url(text)
    # Relative to the project, not to wherever a command happens to be run from.
    return dataclasses.replace(target, folder=str(ROOT / target.folder)) if target.folder else target


def _parse_folder(text: str) -> str:
    if not (ROOT / text).is_dir():
        raise ValueError("a folder that there is")
    return str(ROOT / text)


def _parse_email(text: str) -> str:
    try:
        return canonicalize_email(text)
    except ValueError as error:
        raise ValueError("an e-mail address") from error


def _parse_domains(text: str) -> tuple[str, ...]:
    try:
        # The domain of an address in its canonical form, which addresses are compared in.
        return tuple(canonicalize_email(f"x@{part.removeprefix('@')}").partition("@")[2] for part in split_list(text))
    except ValueError:
        raise ValueError("domains such as example.com, separated by commas, without @ and wildcard") from None


def _parse_sign_in_methods(text: str) -> tuple[str, ...]:
    methods = split_list(text)
    if not methods or not set(methods) <= set(SIGN_IN_METHODS) or len(set(methods)) < len(methods):
        raise ValueError(f"one or more of {', '.join(SIGN_IN_METHODS)}, each once, separated by commas")
    return methods


def _parse_line(text: str) -> str:
    if not text.isprintable() or len(text) > LINE_MAX_LENGTH:
        raise ValueError(f"one line of at most {LINE_MAX_LENGTH} characters")
    return text


def _parse_logo(text: str) -> str:
    if not _LOGO.fullmatch(text):
        raise ValueError("the address of a picture that begins with https://")
    return text


def _parse_color(text: str) -> str:
    if not _COLOR.fullmatch(text):
        raise ValueError("a color such as #2f5d50")
    return text.lower()


def _parse_log_level(text: str) -> str:
    return parse_choice("DEBUG", "INFO", "WARNING", "ERROR")(text.upper())


# --- the settings ---


_SECONDS: Final = parse_int(at_least=60, at_most=365 * 24 * 3600)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, checked and frozen. ``.env.example`` says what each one means.

    ``APP_ENV`` only chooses defaults; no code asks for it.
    """

    app_env: str = setting(parse_choice("development", "testing", "production"), "development")
    secret_key: str = setting(check_secret_key, "", is_secret=True)
    secret_key_fallbacks: tuple[str, ...] = setting(_parse_secret_keys, "", is_secret=True)
    app_extensions: tuple[str, ...] = setting(split_list, "")

    database_url: DatabaseTarget = setting(_parse_database_url, "sqlite:///var/app.db", is_secret=True)
    database_require_tls: bool = setting(parse_bool, "false", production="true")

    ratelimit_storage_uri: StorageUri = setting(parse_storage_uri, "memory://", is_secret=True)
    ratelimit_enabled: bool = setting(parse_bool, "true")
    ratelimit_headers_enabled: bool = setting(parse_bool, "true")
    ratelimit_legacy_headers: bool = setting(parse_bool, "false")
    ratelimit_store_budget_ms: int = setting(parse_int(at_least=5, at_most=1000), "25")
    ratelimit_fallback: Fallback = setting(parse_choice(*Fallback), "local")
    ratelimit_precision: int = setting(parse_int(at_least=PRECISION_RANGE[0], at_most=PRECISION_RANGE[-1]), "100")
    ratelimit_default: Limits = setting(parse_limits, "600/minute")
    ratelimit_login: Limits = setting(parse_limits, "5/minute;10/5 minutes;20/15 minutes")
    ratelimit_login_address: Limits = setting(parse_limits, "30/minute;300/hour")
    ratelimit_register: Limits = setting(parse_limits, "10/minute;60/hour")
    ratelimit_mail: Limits = setting(parse_limits, "10/minute;60/hour")
    ratelimit_token: Limits = setting(parse_limits, "30/minute;300/hour")
    ratelimit_proof_of_work: Limits = setting(parse_limits, "60/minute")
    ratelimit_roles: RoleLimits | None = setting(parse_role_limits, None)

    trusted_proxies: int | tuple[IpNetwork, ...] = setting(_parse_proxies, "0")
    public_url: str = setting(_parse_origin, "http://127.0.0.1:8000")
    allowed_hosts: tuple[str, ...] = setting(_parse_hosts, LOCAL_HOSTS, production="")
    cors_origins: tuple[str, ...] = setting(_parse_origins, "")

    registration: str = setting(parse_choice("open", "invite", "closed"), "open")
    registration_domains: tuple[str, ...] = setting(_parse_domains, "")
    email_verification: str = setting(parse_choice("off", "required"), "off", production="required")
    sign_in_methods: tuple[str, ...] = setting(_parse_sign_in_methods, "password")
    deletion_grace_days: int = setting(parse_int(at_least=0, at_most=365), "14")
    proof_of_work: str = setting(parse_choice("off", "auto", "on"), "off")
    proof_of_work_cost: int = setting(parse_int(at_least=1, at_most=100_000), "300")
    proof_of_work_lifetime: int = setting(parse_int(at_least=60, at_most=3600), "600")
    guesses_max: int = setting(parse_int(at_least=10, at_most=100), "100")
    admin_email: str | None = setting(_parse_email, "admin@example.com", production=None)
    admin_password: str | None = setting(parse_text, None, is_secret=True)

    password_min_length: int = setting(parse_int(at_least=8, at_most=64), "15")
    password_hashing_concurrency: int | None = setting(parse_int(at_least=1, at_most=256), None)
    session_lifetime: int = setting(_SECONDS, str(12 * 3600))
    session_idle_timeout: int = setting(_SECONDS, str(2 * 3600))
    remember_lifetime: int = setting(_SECONDS, str(30 * 24 * 3600))
    session_cookie_secure: bool = setting(parse_bool, "false", production="true")

    mail_url: MailTarget = setting(_parse_mail_url, "console:", is_secret=True)
    mail_from: str | None = setting(_parse_email, None)
    mail_templates: str | None = setting(_parse_folder, None)
    mail_in_process: bool = setting(parse_bool, "true", production="false")
    mail_preview: bool = setting(parse_bool, "true", production="false")
    mails_per_hour: int = setting(parse_int(at_least=1, at_most=100), "5")
    mail_code_tries: int = setting(parse_int(at_least=1, at_most=10), "5")
    outbox_retention_days: int = setting(parse_int(at_least=1, at_most=365), "7")
    verification_lifetime: int = setting(_SECONDS, str(24 * 3600))
    reset_lifetime: int = setting(_SECONDS, str(3600))
    mail_sign_in_lifetime: int = setting(_SECONDS, str(15 * 60))
    invitation_lifetime: int = setting(_SECONDS, str(7 * 24 * 3600))
    undo_lifetime: int = setting(_SECONDS, str(7 * 24 * 3600))
    site_name: str = setting(_parse_line, "Gatehouse")
    site_logo: str | None = setting(_parse_logo, None)
    site_accent: str = setting(_parse_color, "#2f5d50")
    console_url: str | None = setting(_parse_origin, None)

    log_level: str = setting(_parse_log_level, "INFO")
    log_format: str = setting(parse_choice("text", "json"), "text", production="json")
    log_error_texts: bool = setting(parse_bool, "true", production="false")

    host: str = setting(parse_text, "127.0.0.1")
    port: int = setting(parse_int(at_least=1, at_most=65535), "8000")
    workers: int = setting(parse_int(at_least=1, at_most=256), "1", production=str(min(os.cpu_count() or 1, 8)))
    threads: int = setting(parse_int(at_least=1, at_most=256), "16")
    shutdown_delay: int = setting(parse_int(at_least=0, at_most=300), "0", production="5")
    shutdown_timeout: int = setting(parse_int(at_least=1, at_most=300), "30")

    surroundings: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """What extensions read their settings from: all that was set and is none of the above. It may hold secrets."""

    unknown_names: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """What the file .env sets and is none of the above."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, misspelt: Sequence[str] = ()) -> Self:
        """Return the settings that ``environ`` spells out, defaults for the rest; ``misspelt`` are faults too.

        Raises:
            SettingsError: one or more values are wrong; the message names all of them and shows no secret.
        """
        values, faults = read_values(cls, environ)
        if faults := [*faults, *_find_cross_faults(values), *misspelt]:
            raise SettingsError(faults)
        # The environment's name chooses the defaults of extensions too.
        own = {field.name.upper() for field in list_settings(cls)} - {"APP_ENV"}
        return cls(**values, surroundings=MappingProxyType({k: v for k, v in environ.items() if k not in own}))

    @property
    def hashes_at_once(self) -> int:
        """How many passwords a process hashes at once; unless it is set, all workers together use each core once."""
        return self.password_hashing_concurrency or -(-(os.cpu_count() or 1) // self.workers)

    @property
    def rate_limits(self) -> dict[str, Limits]:
        """The limits that have a name."""
        return {name: getattr(self, field) for name, field in _name_limits().items()}

    @property
    def front_url(self) -> str:
        """Where links in mails lead."""
        return self.console_url or self.public_url

    def describe(self) -> dict[str, object]:
        """Return every setting by its name in the environment, secrets masked."""
        return describe_values(self)


def _name_limits() -> dict[str, str]:
    """Return the fields that hold limits, by what those are called."""
    fields = [field.name for field in list_settings(Settings) if field.metadata["parse"] is parse_limits]
    return {name_setting(name.upper()): name for name in fields}


def _find_cross_faults(values: Mapping[str, Any]) -> list[str]:
    """Name what is wrong between settings that are right one by one."""
    faults: list[str] = []
    if values.get("database_require_tls") and "database_url" in values:
        try:
            values["database_url"].refuse_clear_text()
        except DatabaseUrlError as error:
            faults.append(f"DATABASE_URL: expected {error}")
    if values.get("admin_password") and not values.get("admin_email", True):
        faults.append("ADMIN_EMAIL: expected the address that ADMIN_PASSWORD belongs to, got none")
    if values.get("proof_of_work", "off") != "off" and not values.get("ratelimit_enabled", True):
        faults.append("PROOF_OF_WORK: expected off, because RATELIMIT_ENABLED is false; solutions are counted there")
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
    merged = {name: value for name, value in (*file.items(), *surroundings.items()) if value}
    if not merged.get("SECRET_KEY") and merged.get("APP_ENV", "") != "production":
        merged["SECRET_KEY"] = keep_secret_key(var / "secret_key")
    settings = Settings.from_environ(merged, misspelt=_find_misspelt(surroundings, file))
    own = [field.name.upper() for field in list_settings(Settings)]
    unknown = (name for name in file if name not in own and not name.startswith(FOREIGN_PREFIXES))
    return dataclasses.replace(settings, unknown_names=tuple(unknown))


def _find_misspelt(environ: Mapping[str, str], file: Mapping[str, str | None]) -> list[str]:
    """Name what is meant to be a setting and is none.

    Environment and file hold what belongs to others too, such as a container's own variables; but a name that is almost
    one of ours can hardly be theirs.
    """
    names = [field.name.upper() for field in list_settings(Settings)]
    faults = []
    for name in {**environ, **file}:
        alike = difflib.get_close_matches(name.upper(), names, n=1, cutoff=MISSPELT_RATIO)
        if alike and name not in names:
            faults.append(f"{name}: expected a setting that there is; did you mean {alike[0]}?")
    return faults
