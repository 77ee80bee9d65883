"""``config``: the settings as they are."""

from __future__ import annotations

import re
from typing import Final

from app.config import MASK, Settings
from app.extensions import get_settings

from .terminal import OperatorGroup, Report

config_group = OperatorGroup("config", help="See the settings.")

_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*")


@config_group.command("show")
def show() -> Report:
    """Show every setting, secrets masked."""
    shown = describe_settings(get_settings())
    width = max(len(name) for name in shown)
    return Report(shown, [f"{name.ljust(width)}  {_write(value)}" for name, value in shown.items()])


def describe_settings(settings: Settings) -> dict[str, object]:
    """Return every setting by its name in the environment: secrets masked, addresses but for their passwords."""
    # So that one can see which server is meant.
    urls = {"DATABASE_URL": settings.database_url.text, "RATELIMIT_STORAGE_URI": settings.ratelimit_storage_uri.text}
    return settings.describe() | {name: mask_address(url) for name, url in urls.items()}


def mask_address(address: str) -> str:
    """Return a URL without its password, even where the password was not escaped as it should be."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.startswith("sqlite"):
        return address
    # Whatever a raw password holds, it ends before the last @.
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
