"""Signatures of cookies that stay valid when the clocks of two hosts differ slightly."""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from app.clock import now

CLOCK_SKEW_SECONDS: Final = 60


class Signer(TimestampSigner):
    """Also accepts what a host whose clock is up to a minute ahead has just signed."""

    def get_timestamp(self) -> int:
        """Return the seconds since 1970 (UTC)."""
        return int(now().timestamp())

    def unsign(self, signed_value: str | bytes, max_age: int | None = None, return_timestamp: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - itsdangerous' own
        """Return the value that was signed, with the time of its signature if ``return_timestamp``.

        Raises:
            itsdangerous.BadSignature: another key signed it, or too long ago.
        """
        value, signed_at = super().unsign(signed_value, return_timestamp=True)
        if max_age is not None:
            age_seconds = self.get_timestamp() - signed_at.timestamp()
            if not -CLOCK_SKEW_SECONDS <= age_seconds <= max_age:
                raise SignatureExpired(f"signed {age_seconds:.0f} s ago", payload=value, date_signed=signed_at)
        return (value, signed_at) if return_timestamp else value


class SessionCookies(SecureCookieSessionInterface):
    """Flask's session cookies, signed by ``Signer``."""

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return the serializer that signs and verifies the cookies of ``app``."""
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = Signer
        return serializer
