"""How mails look, and whose they are."""

import dataclasses
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from app.config import Settings

# WCAG 2.2, 1.4.3: the luminance at which black and white are as easy to read.
_MIDDLE: Final = 0.179


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the operator says about the site: its name, the address of its logo, its color as #rrggbb, its URL."""

    name: str
    url: str
    accent: str
    logo: str | None = None
    templates: str | None = None
    """The folder of templates that go before ours."""

    @property
    def ink(self) -> str:
        """The color of words on the accent, black or white, whichever is read better."""
        red, green, blue = (_linearize(int(self.accent[start : start + 2], 16) / 255) for start in (1, 3, 5))
        return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > _MIDDLE else "#ffffff"


def make_site(settings: Settings) -> Site:
    """Return the site that the settings describe."""
    return Site(
        name=settings.site_name,
        url=settings.public_url,
        accent=settings.site_accent,
        logo=settings.site_logo,
        templates=settings.mail_templates,
    )


def make_sender(settings: Settings) -> str:
    """Return whose address mails come from: that of MAIL_FROM, or else one at the host of PUBLIC_URL."""
    if settings.mail_from:
        return settings.mail_from
    host = urlsplit(settings.public_url).hostname or ""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return f"no-reply@{host}"
    # RFC 5321, 4.1.3.
    return f"no-reply@[{'IPv6:' if ip.version == 6 else ''}{ip}]"


def _linearize(share: float) -> float:
    """Return the linear share of a channel of sRGB."""
    linear: float = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    return linear
