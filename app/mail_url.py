"""``MAIL_URL`` read once, checked, and frozen."""

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

EXAMPLES: Final = (
    "console:, file:var/mail, smtp://user:password@host:587 or smtps://user:password@host:465; special characters in"
    " user and password percent-encoded: @ as %40, / as %2F, ? as %3F"
)
TIMEOUT_RANGE: Final = range(1, 61)
TIMEOUT_SECONDS: Final = 10
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {"smtp": ("starttls", "ca", "timeout"), "smtps": ("ca", "timeout")}
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

# RFC 8314: TLS from the first byte is preferred to STARTTLS for submission.
Encryption = Literal["none", "starttls", "tls"]
_PORTS: Final[Mapping[Encryption, int]] = {"none": 25, "starttls": 587, "tls": 465}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MailTarget:
    """Where mail goes. Of ``folder`` and ``host`` only that of its kind is set."""

    kind: Literal["console", "file", "smtp"]
    folder: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    encryption: Encryption = "none"
    ca: str | None = None
    timeout_seconds: int = TIMEOUT_SECONDS
    """The hard limit of one delivery, connecting included."""

    def __str__(self) -> str:
        if self.kind != "smtp":
            return f"{self.kind}:{self.folder}"
        scheme = "smtps" if self.encryption == "tls" else "smtp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}:***@" if self.user else ""
        return f"{scheme}://{user}{host}:{self.port}"


def parse_mail_url(text: str) -> MailTarget:
    """Return what ``text`` asks for, defaults filled in.

    Only the names of its options are ever repeated in a message, because a password whose special characters are not
    percent-encoded may end up in any other part.

    Raises:
        ValueError: it is wrong; the message completes "expected …" and shows no secret.
    """
    if not text.isprintable() or " " in text:
        raise ValueError("a URL without blanks, line breaks or control characters")
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "console" and not rest:
        return MailTarget(kind="console")
    if scheme == "file":
        return MailTarget(kind="file", folder=_parse_folder(rest))
    if scheme not in _OPTIONS or not rest.startswith("//"):
        raise ValueError(EXAMPLES)
    try:
        parts = urlsplit(f"{scheme}:{rest}")
        port = parts.port
    except ValueError:
        raise ValueError(f"a host and a port from 1 to 65535, as in {EXAMPLES}") from None
    # An unencoded / or # in a password ends the host.
    if parts.path not in {"", "/"} or parts.fragment or "@" in parts.query or "@" in parts.netloc.rpartition("@")[0]:
        raise ValueError(f"nothing after host and port but options, as in {EXAMPLES}")
    if not parts.hostname or port == 0 or not _HOST.fullmatch(parts.hostname):
        raise ValueError(f"a host's name, as xn--… (punycode) in other scripts, or its IP, as in {EXAMPLES}")
    options = _parse_options(scheme, parts.query)
    encryption = _choose_encryption(scheme, parts.hostname, options)
    user, password = _parse_credentials(parts)
    return MailTarget(
        kind="smtp",
        host=parts.hostname,
        port=port or _PORTS[encryption],
        user=user,
        password=password,
        encryption=encryption,
        ca=options.get("ca"),
        timeout_seconds=int(options.get("timeout", TIMEOUT_SECONDS)),
    )


def _parse_folder(rest: str) -> str:
    path = rest.removeprefix("//") if rest.startswith("///") else rest
    if not path or path.startswith("//"):
        raise ValueError("a folder, as in file:var/mail or file:/srv/mail")
    return _decode(path)


def _parse_options(scheme: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise ValueError("options as in ?timeout=10&ca=/etc/ssl/mail-ca.pem") from None
    options = dict(pairs)
    allowed = _OPTIONS[scheme]
    if len(options) != len(pairs) or not options.keys() <= set(allowed):
        raise ValueError(f"no options but {', '.join(allowed)}, each once")
    if options.get("starttls", "off") not in {"required", "off"}:
        raise ValueError("the option starttls as required or off")
    timeout = options.get("timeout", str(TIMEOUT_SECONDS))
    if not re.fullmatch("[0-9]{1,2}", timeout) or int(timeout) not in TIMEOUT_RANGE:
        raise ValueError(f"the option timeout as whole seconds from {TIMEOUT_RANGE[0]} to {TIMEOUT_RANGE[-1]}")
    if "ca" in options and not Path(options["ca"]).is_file():
        raise ValueError("an existing file as ca")
    return options


def _choose_encryption(scheme: str, host: str, options: Mapping[str, str]) -> Encryption:
    """Return how the connection is encrypted; where nothing is said, only what stays on this machine is not."""
    if scheme == "smtps":
        return "tls"
    word = options.get("starttls") or ("off" if _is_loopback(host) else "required")
    if word == "off" and "ca" in options:
        raise ValueError("the option starttls=required beside ca, which is of no use without it")
    return "starttls" if word == "required" else "none"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse_credentials(parts: SplitResult) -> tuple[str, str]:
    user, password = _decode(parts.username or ""), _decode(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("both a user and a password, or neither")
    if not (user + password).isascii():
        raise ValueError("user and password in ASCII")
    return user, password


def _decode(part: str) -> str:
    """Return ``part`` with its percent-encoding undone."""
    try:
        decoded = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("percent-encoded characters in UTF-8") from None
    if not decoded.isprintable():
        raise ValueError("no line break and no control character")
    return decoded
