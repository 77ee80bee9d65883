"""Signatures of cookies that stay valid when the clocks of two hosts differ slightly."""

import functools
from typing import Any, Final

from flask import Flask, Response
from flask.sessions import SecureCookieSessionInterface, SessionMixin
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
            age_seconds = int(now().timestamp()) - signed_at.timestamp()
            if not -CLOCK_SKEW_SECONDS <= age_seconds <= max_age:
                raise SignatureExpired(f"signed {age_seconds:.0f} s ago", payload=value, date_signed=signed_at)
        return (value, signed_at) if return_timestamp else value


class _Serializer(URLSafeTimedSerializer):
    """Keeps its signer; itsdangerous makes one for each value."""

    @functools.cached_property
    def _signer(self) -> TimestampSigner:
        return super().make_signer()  # type: ignore[return-value] # it is made by Signer

    def make_signer(self, salt: str | bytes | None = None) -> TimestampSigner:
        """Return the signer; all session cookies have one salt."""
        del salt
        return self._signer


class SessionCookies(SecureCookieSessionInterface):
    """Flask's session cookies, signed by ``Signer``."""

    _keys: list[Any] | None = None
    _serializer: _Serializer

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        """Return the serializer that signs and verifies the cookies of ``app``, the same until its keys change."""
        keys = [*app.config["SECRET_KEY_FALLBACKS"], app.secret_key]
        if keys != self._keys:
            digest = self.digest_method
            make = functools.partial(Signer, salt=self.salt, key_derivation=self.key_derivation, digest_method=digest)
            # What itsdangerous would do again for each cookie.
            derived = [make(key).derive_key() for key in keys]
            self._serializer = _Serializer(
                derived,
                salt=self.salt,
                serializer=self.serializer,
                signer=Signer,
                signer_kwargs={"key_derivation": "none", "digest_method": digest},
            )
            self._keys = keys
        return self._serializer

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie when the session has changed; that answers vary by it is in the headers of all of them."""
        if session.modified:
            super().save_session(app, session, response)
