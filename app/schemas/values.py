"""The fields of the schemas: strict about types, characters and lengths."""

import datetime
import decimal
import enum
import re
import unicodedata
from typing import Any, Final

from marshmallow import ValidationError, fields, validate

from app.database.types import ExactDecimal
from app.emails import EMAIL_MAX_LENGTH, NFC_SHRINKS_BY, canonicalize_email
from app.extensions import get_permissions
from app.models import LIMITS_MAX_LENGTH
from app.permissions import ROLE_NAME_MAX_LENGTH, ROLE_NAME_PATTERN
from app.ratelimit.plan import ALLOWED_NOTATION, LimitError, parse_limits
from app.security import PASSWORD_MAX_LENGTH
from app.utils import Message

CURSOR_MAX_LENGTH: Final = 1500
ROLES_AT_ONCE_MAX: Final = 100
# In the list of one role: more than there are.
PERMISSIONS_MAX: Final = 1000

# Control characters, line and paragraph separators, and marks that change the direction of text: they do not belong on
# one line, and can make one name look like another.
LINE_PATTERN: Final = "^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
NO_CONTROLS_PATTERN: Final = "^[^\u0000-\u001f\u007f-\u009f]*$"


class Text(fields.String):
    """One line of text, without control characters or halves of surrogate pairs, in Unicode's NFC form."""

    default_error_messages = {  # noqa: RUF012 - as Marshmallow has it
        "invalid_unicode": "This is not valid Unicode text.",
        "forbidden_characters": "This contains characters that are not allowed here.",
    }

    def __init__(
        self,
        *,
        max_length: int,
        min_length: int = 0,
        pattern: str = LINE_PATTERN,
        **kwargs: Any,
    ) -> None:
        metadata = {"pattern": pattern} | kwargs.pop("metadata", {})
        self._length_to_normalize = max_length * NFC_SHRINKS_BY
        length = validate.Length(min=min_length or None, max=max_length)
        super().__init__(validate=length, metadata=metadata, **kwargs)
        # Python's $ also matches before a final line feed; JSON Schema's does not.
        self._pattern = re.compile(pattern.removesuffix("$") + r"\Z")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise self.make_error("invalid_unicode")
        if not self._pattern.match(text):
            raise self.make_error("forbidden_characters")
        return self._normalize(text)

    def _normalize(self, text: str) -> str:
        if len(text) > self._length_to_normalize:
            self._validate(text)
        return unicodedata.normalize("NFC", text)


class Password(Text):
    """A password as it was typed; it is normalized when it is hashed."""

    def __init__(self, *, min_length: int = 1, **kwargs: Any) -> None:
        metadata = {"format": "password"} | kwargs.pop("metadata", {})
        super().__init__(
            min_length=min_length,
            max_length=PASSWORD_MAX_LENGTH,
            pattern=NO_CONTROLS_PATTERN,
            load_only=True,
            metadata=metadata,
            **kwargs,
        )

    def _normalize(self, text: str) -> str:
        return text


class Email(Text):
    """An e-mail address, loaded in its canonical form."""

    default_error_messages = {"invalid_email": "This is not an e-mail address."}  # noqa: RUF012 - as Marshmallow has it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=3, max_length=EMAIL_MAX_LENGTH, metadata={"format": "email"}, **kwargs)

    def _normalize(self, text: str) -> str:
        try:
            return canonicalize_email(text)
        except ValueError as error:
            raise self.make_error("invalid_email") from error


class Limits(Text):
    """Rate limits such as ``10/minute;100/hour``."""

    default_error_messages = {"invalid_limits": "This is not a limit. Expected: {expected}."}  # noqa: RUF012 - as Marshmallow has it

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"description": "Such as 10/minute;100/hour: all of them apply.", "example": "10/minute;100/hour"}
        # No pattern: it would be a second grammar, and refuse at the client what is taken here.
        super().__init__(max_length=LIMITS_MAX_LENGTH, metadata=metadata | {"format": "rate-limits"}, **kwargs)

    def _normalize(self, text: str) -> str:
        try:
            parse_limits(text)
        except LimitError as error:
            raise self.make_error("invalid_limits", expected=ALLOWED_NOTATION) from error
        return text


class RoleLimits(fields.Dict):
    """Rate limits by the name of a role, for a bounded number of roles."""

    default_error_messages = {"too_many": "Name at most {max} roles at once."}  # noqa: RUF012 - as Marshmallow has it

    def __init__(self) -> None:
        super().__init__(
            keys=Text(min_length=1, max_length=ROLE_NAME_MAX_LENGTH, pattern=ROLE_NAME_PATTERN),
            values=Limits(allow_none=True),
            metadata={"maxProperties": ROLES_AT_ONCE_MAX},
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        # Checked first: otherwise the answer would have an error for each of them.
        if isinstance(value, dict) and len(value) > ROLES_AT_ONCE_MAX:
            raise self.make_error("too_many", max=ROLES_AT_ONCE_MAX)
        loaded: dict[str, str | None] = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call] # Marshmallow's own
        return loaded


class Whole(fields.Integer):
    """A whole number in a query, in plain digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        # int() would also take " 1_0 ", digits of other scripts, and any number of digits.
        if not re.fullmatch(r"-?[0-9]{1,9}", str(value)):
            raise self.make_error("invalid", input=value)
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class Flag(fields.Boolean):
    """True or false, and nothing that Python takes for them: 1 is in {True}."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs) is True


class Token(fields.Raw):
    """What a mailed link carries: it takes any value, so that whatever is no token of ours gets the same answer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_none=True, metadata={"type": "string"}, **kwargs)


class Instant(fields.AwareDateTime):
    """A time as RFC 3339 in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime.datetime:
        instant: datetime.datetime = super()._deserialize(value, attr, data, **kwargs)
        try:
            return instant.astimezone(datetime.UTC)
        except OverflowError as error:  # the first or last hours of the calendar, in another time zone
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        del attr, obj, kwargs
        return None if value is None else write_instant(value)


def write_instant(instant: datetime.datetime) -> str:
    """Return an instant in UTC as RFC 3339 has it."""
    return instant.isoformat().replace("+00:00", "Z")


class Cursor(Text):
    """The ``next_cursor`` of a page; only the list that made it understands it."""

    default_error_messages = {"invalid_cursor": "This is longer than any cursor."}  # noqa: RUF012 - as Marshmallow has it

    def __init__(self) -> None:
        super().__init__(max_length=CURSOR_MAX_LENGTH, metadata={"description": "The next_cursor of the page before."})
        # The document promises no length.
        self.validators = []

    def _normalize(self, text: str) -> str:
        if len(text) > CURSOR_MAX_LENGTH:
            raise self.make_error("invalid_cursor")
        return text


class _Declared(validate.Validator):
    """One of the permissions that the current application declares."""

    @property
    def choices(self) -> list[str]:
        """The names; OpenAPI reads them too."""
        return sorted(get_permissions())

    def __call__(self, value: str) -> str:
        """Return ``value``.

        Raises:
            ValidationError: it is none of them.
        """
        choices = self.choices
        if value not in choices:
            raise ValidationError(Message(f"Must be one of: {', '.join(choices)}.", "not_one_of", choices=choices))
        return value


class Permissions(fields.List[str]):
    """Permissions that the current application declares."""

    def __init__(self, **options: Any) -> None:
        names = fields.String(validate=_Declared())
        super().__init__(names, validate=validate.Length(max=PERMISSIONS_MAX), **options)


class QueryFlag(fields.Boolean):
    """``true`` or ``false`` in a query."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(truthy={"true"}, falsy={"false"}, **kwargs)


class WholeNumber(fields.Integer):
    """A whole number in a body, from ``at_least`` to ``at_most``: no text, no fraction, and not true or false."""

    def __init__(self, *, at_least: int = -(2**31), at_most: int = 2**31 - 1, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=at_least, max=at_most), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class Amount(fields.Field[decimal.Decimal]):
    """A decimal number such as an amount of money, as text with all its places: ``"12.50"``.

    A number in JSON is refused: most programs would have made a float of it on the way, and lost cents.
    """

    default_error_messages = {  # noqa: RUF012 - as Marshmallow has it
        "invalid_type": 'Send this as text with a point, such as "{example}": programs round numbers.',
        "invalid_amount": "This is not a number such as {example}.",
        "too_many_digits": "At most {digits} digits, {places} of them behind the point.",
        "too_small": "This must be from {min} to {max}.",
        "too_large": "This must be from {min} to {max}.",
    }

    def __init__(
        self,
        *,
        digits: int = 12,
        places: int = 2,
        at_least: decimal.Decimal | int | None = None,
        at_most: decimal.Decimal | int | None = None,
        **kwargs: Any,
    ) -> None:
        self._type = ExactDecimal(digits, places)
        biggest = decimal.Decimal(10 ** (digits - places)) - decimal.Decimal(1).scaleb(-places)
        self._at_least = -biggest if at_least is None else decimal.Decimal(at_least)
        self._at_most = biggest if at_most is None else decimal.Decimal(at_most)
        behind = rf"(\.[0-9]{{1,{places}}})?" if places else ""
        # A zero before the point, where there is room for nothing else.
        before = f"[0-9]{{1,{digits - places}}}" if digits > places else "0"
        self._pattern = re.compile(f"-?{before}{behind}")
        self._example = self._write(min(max(decimal.Decimal("12.5"), self._at_least), self._at_most))
        metadata = {
            "type": "string",
            "format": "decimal",
            "pattern": f"^{self._pattern.pattern}$",
            "example": self._example,
            "description": f"From {self._at_least} to {self._at_most}.",
        }
        super().__init__(metadata=metadata | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> decimal.Decimal:
        del attr, data, kwargs
        if not isinstance(value, str):
            raise self.make_error("invalid_type", expected="string", example=self._example)
        if not self._pattern.fullmatch(value):
            if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
                raise self.make_error("too_many_digits", digits=self._type.digits, places=self._type.places)
            raise self.make_error("invalid_amount", example=self._example)
        number = self._type.check(decimal.Decimal(value))
        if not self._at_least <= number <= self._at_most:
            key = "too_small" if number < self._at_least else "too_large"
            raise self.make_error(key, min=str(self._at_least), max=str(self._at_most))
        return number

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        del attr, obj, kwargs
        return None if value is None else self._write(value)

    def _write(self, number: decimal.Decimal) -> str:
        return f"{number:.{self._type.places}f}"


class Choice(fields.Enum[Any]):
    """A member of an enumeration of strings, as its value."""

    def __init__(self, members: type[enum.StrEnum], **kwargs: Any) -> None:
        super().__init__(members, by_value=fields.String, **kwargs)


class Date(fields.Date):
    """A day as RFC 3339 has it: ``2026-01-31``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime.date:
        # Python would also take 20260131 and 2026-W05-6.
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        day: datetime.date = super()._deserialize(value, attr, data, **kwargs)
        return day
