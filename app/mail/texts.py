"""What a template is given: values that are safe in a header and in a line, durations and times as people say them."""

import datetime
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from babel.core import Locale
from babel.dates import format_date, format_datetime
from babel.units import format_unit

TEXT_MAX_LENGTH: Final = 200
# Marks that turn the direction of what follows them: a name could make the rest of a line read differently.
_DIRECTIONS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ISOLATE: Final = "\u2068{}\u2069"
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_UNITS: Final = (("day", 24 * 3600), ("hour", 3600), ("minute", 60))

Context = Mapping[str, str | int | None]


def clean_line(text: str) -> str:
    """Return ``text`` as one line without control characters, at most ``TEXT_MAX_LENGTH`` characters long."""
    visible = "".join(char if _is_visible(char) else " " for char in _DIRECTIONS.sub("", text))
    line = " ".join(visible.split())
    return line if len(line) <= TEXT_MAX_LENGTH else line[: TEXT_MAX_LENGTH - 1] + "…"


def isolate(line: str) -> str:
    """Return ``line`` so that, in a script from right to left, it does not turn what stands around it."""
    is_turned = any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in line)
    return _ISOLATE.format(line) if is_turned else line


def _is_visible(char: str) -> bool:
    """Whether a mail can hold it: neither control, nor surrogate, nor a separator of lines; joined emoji stay whole."""
    return unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"}


def describe_duration(seconds: int, locale: Locale) -> str:
    """Return so many seconds in words, in the greatest unit that tells them whole; never more than there are."""
    unit, length = next(((unit, length) for unit, length in _UNITS if seconds % length == 0), _UNITS[-1])
    return format_unit(max(seconds // length, 1), f"duration-{unit}", locale=locale)


def describe_instant(text: str, locale: Locale) -> str:
    """Return an instant in ISO 8601 as a date with its time, in UTC."""
    instant = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    # In English a narrow no-break space stands before AM and PM, which not every font has.
    return format_datetime(instant, "long", locale=locale).replace("\u202f", " ")


def describe_day(text: str, locale: Locale) -> str:
    """Return the day of an instant in ISO 8601, in UTC."""
    return format_date(datetime.datetime.fromisoformat(text).astimezone(datetime.UTC), "long", locale=locale)


# What a user agent names: the first that is in it, for many name others too.
_BROWSERS: Final = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"),
)  # fmt: skip
_SYSTEMS: Final = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def describe_user_agent(text: str) -> str:
    """Return browser and system as people call them, or the whole text where it names none."""
    found = [next((name for mark, name in marks if mark in text), "") for marks in (_BROWSERS, _SYSTEMS)]
    return ", ".join(filter(None, found)) or clean_line(text)


# Values of these names are shown in words of the recipient's language, all others as they are.
_DESCRIBED: Final[Mapping[str, Callable[[str, Locale], str]]] = {
    "expires_in": lambda value, locale: describe_duration(int(value), locale),
    "at": describe_instant,
    "due_at": describe_day,
    "user_agent": lambda value, _locale: describe_user_agent(value),
}


def describe_context(context: Context, locale: Locale) -> dict[str, str]:
    """Return the values of ``context`` as a template shows them; links are never shortened."""
    described = {}
    for name, value in context.items():
        if value is None:
            described[name] = ""
        elif name in _DESCRIBED:
            described[name] = _DESCRIBED[name](str(value), locale)
        elif name.endswith("link"):
            described[name] = "".join(filter(str.isprintable, str(value))).replace(" ", "")
        else:
            described[name] = isolate(clean_line(str(value)))
    return described
