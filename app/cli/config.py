"""``config``: the settings in force."""

import re
from typing import Final

from app.config import Settings
from app.environment import MASK
from app.extensions import get_extensions, get_settings

from .terminal import OperatorGroup, Report

config_group = OperatorGroup("config", help="Show the settings.")

_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*")


@config_group.command("show")
def show() -> Report:
    """Show every setting, secrets masked."""
    shown = describe_settings(get_settings()) | get_extensions().describe_settings()
    width = max(len(name) for name in shown)
    return Report(shown, [f"{name.ljust(width)}  {_write(value)}" for name, value in shown.items()])


def describe_settings(settings: Settings) -> dict[str, object]:
    """Return every setting by its name in the environment: secrets are masked, of URLs only the passwords."""
    # So that one can see which server is meant.
    urls = {"DATABASE_URL": settings.database_url.text, "RATELIMIT_STORAGE_URI": settings.ratelimit_storage_uri.text}
    return settings.describe() | {name: mask_url(url) for name, url in urls.items()}


def mask_url(url: str) -> str:
    """Return ``url`` without its passwords, even if these were not percent-encoded as they should be."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.startswith("sqlite"):
        return url
    # Whatever a raw password contains, it ends before the last @.
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    masked = f"{user}{colon}{MASK if colon else ''}{at}{host}"
    return f"{scheme}://" + _SECRET_PARAMETER.sub(rf"\g<1>{MASK}", masked)


def _write(value: object) -> str:
    if value is None or value == ():
        return "(none)"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
