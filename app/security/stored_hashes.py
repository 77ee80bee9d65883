"""Stored password hashes: our own Argon2id, and the formats of imported accounts.

A hash is parsed once into a ``Check``, and refused if checking it could overload the server: at the limits below, one
check takes about a second of one core, and at most 256 MiB.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

import argon2
import bcrypt
import nacl.bindings
import nacl.exceptions
from argon2.exceptions import VerificationError

# Says whether a password, as the bytes that were hashed, is the right one.
Check = Callable[[bytes], bool]

HASH_MAX_LENGTH: Final = 255  # what the column holds

BCRYPT_MAX_COST: Final = 14
BCRYPT_MAX_BYTES: Final = 72
PBKDF2_MAX_ITERATIONS: Final = 2_000_000
SCRYPT_MAX_WORK: Final = 2**21  # n * r * p; OWASP's strongest is 2**17 * 8 * 1
ARGON2_MAX_WORK_KIB: Final = 1024 * 1024  # memory * passes
ARGON2_MAX_LANES: Final = 16
MAX_MEMORY_KIB: Final = 256 * 1024

# A shorter digest could be met by chance.
_MIN_DIGEST_BYTES: Final = 16
_MAX_DIGEST_BYTES: Final = 64

_argon2 = argon2.PasswordHasher()
_SODIUM: Final = (argon2.Type.ID, 19, 1)
_SODIUM_MAX_LENGTH: Final = nacl.bindings.crypto_pwhash_STRBYTES - 1


class UnsupportedHash(ValueError):
    """The text is not a password hash that can be checked here; the message never repeats the hash."""


def parse_stored_hash(text: str) -> Check:
    """Return the function that checks passwords against the hash ``text``.

    Raises:
        UnsupportedHash: the format is unknown, or its parameters are absurd.
    """
    if len(text) > HASH_MAX_LENGTH:
        raise UnsupportedHash(f"This is longer than {HASH_MAX_LENGTH} characters.")
    for pattern, make in _FORMATS:
        match = re.fullmatch(pattern, text, re.ASCII)
        if match:
            try:
                return make(match)
            except UnsupportedHash:
                raise
            except ValueError as error:
                raise UnsupportedHash("Its salt or digest is damaged.") from error
    raise UnsupportedHash("This is not a password hash in a known format.")


# --- one maker for each algorithm ---


def _make_argon2(match: re.Match[str]) -> Check:
    text = match["hash"]
    parameters = argon2.extract_parameters(text)
    work = parameters.memory_cost * parameters.time_cost
    if parameters.memory_cost > MAX_MEMORY_KIB or work > ARGON2_MAX_WORK_KIB:
        raise UnsupportedHash("Its Argon2 parameters would take too much memory or time.")
    if not 1 <= parameters.parallelism <= ARGON2_MAX_LANES or parameters.time_cost < 1:
        raise UnsupportedHash("Its Argon2 parameters are out of range.")
    if parameters.hash_len < _MIN_DIGEST_BYTES:
        raise UnsupportedHash("Its digest is too short.")

    # libsodium knows the form that it writes itself, and takes two thirds of the time: it chooses by the processor.
    if (parameters.type, parameters.version, parameters.parallelism) == _SODIUM and len(text) <= _SODIUM_MAX_LENGTH:
        return lambda secret: _verify_with_sodium(text.encode(), secret)

    def check(secret: bytes) -> bool:
        try:
            return _argon2.verify(text, secret)
        except VerificationError:
            return False

    return check


def _verify_with_sodium(text: bytes, secret: bytes) -> bool:
    try:
        return nacl.bindings.crypto_pwhash_str_verify(text, secret)
    except nacl.exceptions.InvalidkeyError:
        return False


def _make_bcrypt(match: re.Match[str]) -> Check:
    text = match["hash"].encode()
    cost = int(match["cost"])
    if not 4 <= cost <= BCRYPT_MAX_COST:
        raise UnsupportedHash(f"Its bcrypt cost is not from 4 to {BCRYPT_MAX_COST}.")
    is_prehashed = match["django"] == "bcrypt_sha256$"

    def check(secret: bytes) -> bool:
        if is_prehashed:
            secret = hashlib.sha256(secret).hexdigest().encode()
        # The source hashed no more than this, so there is no more to compare. The owner's first sign-in replaces the
        # hash by one of the whole password.
        try:
            return bcrypt.checkpw(secret[:BCRYPT_MAX_BYTES], text)
        except ValueError:  # the salt's last character has bits that no salt has
            return False

    return check


def _make_pbkdf2(match: re.Match[str], salt: bytes, digest: bytes) -> Check:
    algorithm = match["algorithm"] or "sha1"
    iterations = int(match["iterations"])
    if not 1 <= iterations <= PBKDF2_MAX_ITERATIONS:
        raise UnsupportedHash(f"Its PBKDF2 iterations are not from 1 to {PBKDF2_MAX_ITERATIONS}.")
    # A longer digest would multiply the work.
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise UnsupportedHash("Its digest does not have its algorithm's length.")
    return lambda secret: hmac.compare_digest(hashlib.pbkdf2_hmac(algorithm, secret, salt, iterations), digest)


def _make_scrypt(match: re.Match[str], salt: bytes, digest: bytes) -> Check:
    r, p = int(match["r"]), int(match["p"])
    n = 2 ** int(match["ln"]) if "ln" in match.groupdict() else int(match["n"])
    # RFC 7914, section 2: n is a power of 2 below 2**(16 * r).
    is_valid = n >= 2 and n & (n - 1) == 0 and r >= 1 and p >= 1 and n.bit_length() <= 16 * r
    if not is_valid or n * r * p > SCRYPT_MAX_WORK or n * r > 8 * MAX_MEMORY_KIB:
        raise UnsupportedHash("Its scrypt parameters are wrong, or would take too much memory or time.")
    if not _MIN_DIGEST_BYTES <= len(digest) <= _MAX_DIGEST_BYTES:
        raise UnsupportedHash(f"Its digest is not from {_MIN_DIGEST_BYTES} to {_MAX_DIGEST_BYTES} bytes long.")
    max_bytes = 132 * r * (n + p) + 1024 * 1024

    def check(secret: bytes) -> bool:
        made = hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=max_bytes, dklen=len(digest))
        return hmac.compare_digest(made, digest)

    return check


# --- how each system writes a hash down ---


def _decode_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _decode_passlib(text: str) -> bytes:
    """Decode passlib's base64: a full stop for the plus sign, no padding."""
    return _decode_base64(text.replace(".", "+") + "=" * (-len(text) % 4))


def _decoding(
    make: Callable[[re.Match[str], bytes, bytes], Check],
    decode_salt: Callable[[str], bytes],
    decode_digest: Callable[[str], bytes],
) -> Callable[[re.Match[str]], Check]:
    return lambda match: make(match, decode_salt(match["salt"]), decode_digest(match["digest"]))


_FORMATS: Final[tuple[tuple[str, Callable[[re.Match[str]], Check]], ...]] = (
    # $argon2id$v=19$m=19456,t=2,p=1$…, and Django's with argon2 before it
    (
        r"(argon2)?(?P<hash>\$argon2(id|i|d)(\$v=(16|19))?\$m=\d{1,9},t=\d{1,9},p=\d{1,4}(\$[A-Za-z0-9+/]{8,}){2})",
        _make_argon2,
    ),
    # $2b$12$…, and Django's bcrypt$$2b$12$… and bcrypt_sha256$$2b$12$…
    (
        r"(?P<django>bcrypt\$|bcrypt_sha256\$)?(?P<hash>\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53})",
        _make_bcrypt,
    ),
    # Django: pbkdf2_sha256$600000$salt$base64
    (
        r"pbkdf2_(?P<algorithm>sha1|sha256|sha512)\$(?P<iterations>\d{1,9})\$(?P<salt>[^$]+)\$(?P<digest>[^$]+)",
        _decoding(_make_pbkdf2, str.encode, _decode_base64),
    ),
    # passlib: $pbkdf2-sha256$29000$base64$base64; without a name it is SHA-1
    (
        r"\$pbkdf2(-(?P<algorithm>sha1|sha256|sha512))?\$(?P<iterations>\d{1,9})\$(?P<salt>[^$]*)\$(?P<digest>[^$]+)",
        _decoding(_make_pbkdf2, _decode_passlib, _decode_passlib),
    ),
    # Werkzeug: pbkdf2:sha256:600000$salt$hex
    (
        r"pbkdf2:(?P<algorithm>sha1|sha256|sha512):(?P<iterations>\d{1,9})\$(?P<salt>[^$]+)\$(?P<digest>[0-9a-f]+)",
        _decoding(_make_pbkdf2, str.encode, bytes.fromhex),
    ),
    # Django: scrypt$16384$salt$8$5$base64
    (
        r"scrypt\$(?P<n>\d{1,9})\$(?P<salt>[^$]+)\$(?P<r>\d{1,9})\$(?P<p>\d{1,9})\$(?P<digest>[^$]+)",
        _decoding(_make_scrypt, str.encode, _decode_base64),
    ),
    # passlib: $scrypt$ln=16,r=8,p=1$base64$base64
    (
        r"\$scrypt\$ln=(?P<ln>\d{1,3}),r=(?P<r>\d{1,9}),p=(?P<p>\d{1,9})\$(?P<salt>[^$]*)\$(?P<digest>[^$]+)",
        _decoding(_make_scrypt, _decode_passlib, _decode_passlib),
    ),
    # Werkzeug: scrypt:32768:8:1$salt$hex
    (
        r"scrypt:(?P<n>\d{1,9}):(?P<r>\d{1,9}):(?P<p>\d{1,9})\$(?P<salt>[^$]+)\$(?P<digest>[0-9a-f]+)",
        _decoding(_make_scrypt, str.encode, bytes.fromhex),
    ),
)
