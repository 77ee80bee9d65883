"""Passwords: which are accepted, and how they are hashed and verified."""

import re
import secrets
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import nacl.bindings
from flask import current_app

from app.guesses import estimate_guesses
from app.utils import InvalidInput, Message, Unavailable

from .stored_hashes import UnsupportedHash, parse_stored_hash

PASSWORD_MAX_LENGTH: Final = 256

# OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane, which is all that libsodium knows.
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1

QUEUE_SECONDS: Final = 1.0

# With fewer guesses an attacker who tries online for a few weeks gets in, whatever the length.
MIN_GUESSES: Final = 10**8
# Shorter words would also cut pieces out of good passwords by chance.
_WORD_MIN_LENGTH: Final = 4
# NIST SP 800-63B-4 also wants the name of the service refused.
_SERVICE: Final = "gatehouse"
_INVENTED_BYTES: Final = 15


class WeakPassword(InvalidInput):
    """The password is too short, too long or too easy to guess."""

    detail = "Choose another password; see errors."


class HashingBusy(Unavailable):
    """Too many passwords are being checked at once."""

    title = "Busy"
    detail = "Too many people are signing in at this moment. Try again in a second."


def normalize_password(password: str) -> str:
    """Return ``password`` in Unicode's NFC form, so that it is the same from every keyboard (NIST SP 800-63B-4)."""
    return unicodedata.normalize("NFC", password)


def _list_known_words(about: Iterable[str]) -> list[str]:
    """Return the words that an attacker tries first for this person on this service, longest first."""
    words = {_SERVICE}
    for phrase in map(normalize_password, about):
        words |= {phrase, *re.split(r"[\s@]+", phrase), *re.split(r"[\W_]+", phrase)}
    return sorted((word for word in words if word), key=lambda word: (-len(word), word))


def _cut(text: str, words: Iterable[str]) -> str:
    """Return ``text`` without any of ``words``, whatever their case."""
    for word in words:
        if len(word) >= _WORD_MIN_LENGTH:
            text = re.sub(re.escape(word), "", text, flags=re.IGNORECASE)
    return text


class PasswordPolicy:
    """The rules of NIST SP 800-63B-4 for a password: long, and hard to guess, with no rule about its composition."""

    def __init__(self, *, min_length: int) -> None:
        self.min_length = min_length

    def check(self, password: str, *, about: Iterable[str], field: str) -> None:
        """Refuse a password that is too short, too long or too easy to guess for those who know its owner.

        ``about`` is what others know of the owner, such as name and e-mail address.

        Raises:
            WeakPassword: with the reason under ``field``.
        """
        fault = self._find_fault(password, about)
        if fault is not None:
            raise WeakPassword(errors={field: [fault]})

    def _find_fault(self, password: str, about: Iterable[str]) -> Message | None:
        text = normalize_password(password)
        if any("\ud800" <= char <= "\udfff" for char in text):
            return Message("This is not valid Unicode text.", "invalid_unicode")
        if len(text) < self.min_length:
            return Message(f"Use at least {self.min_length} characters.", "password_too_short", min=self.min_length)
        if len(password) > PASSWORD_MAX_LENGTH:
            return Message(
                f"Use at most {PASSWORD_MAX_LENGTH} characters.", "password_too_long", max=PASSWORD_MAX_LENGTH
            )
        known = _list_known_words(about)
        # Known words count for nothing, wherever they stand and however long they are.
        if estimate_guesses(_cut(text, known), known) < MIN_GUESSES:
            words = "This password is too easy to guess. Four or more random words work."
            return Message(words, "password_too_easy")
        return None

    def invent(self) -> str:
        """Return a password that nobody can guess and that this policy accepts."""
        return secrets.token_urlsafe(max(_INVENTED_BYTES, self.min_length))


class PasswordHasher:
    """Hashes passwords with Argon2id, verifies them against our hashes and other systems', and bounds how many at once.

    Hashing is the cheapest way to overload a server. Beyond ``concurrency``, callers queue for ``QUEUE_SECONDS`` and
    are then refused. Beyond ``capacity`` callers, hashing or queueing, they are refused at once: each holds one of the
    server's threads, and the other routes need some too.
    """

    def __init__(self, *, concurrency: int, capacity: int) -> None:
        cost = f"m={MEMORY_KIB},t={PASSES},p={LANES}"
        self._current = re.compile(rf"\$argon2id\$v=19\${cost}\$[A-Za-z0-9+/]{{22}}\$[A-Za-z0-9+/]{{43}}")
        self._slots = threading.BoundedSemaphore(concurrency)
        self._places = threading.BoundedSemaphore(capacity)
        # An unknown e-mail address must take as long as a known one.
        self._dummy_check = parse_stored_hash(_hash("a password that nobody has"))

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise HashingBusy
        try:
            if not self._slots.acquire(timeout=QUEUE_SECONDS):
                raise HashingBusy
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._places.release()

    def hash(self, password: str) -> str:
        """Return the hash of ``password``, salted anew.

        Raises:
            HashingBusy: too many passwords are being hashed.
        """
        with self._slot():
            return _hash(normalize_password(password))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Say whether ``password`` is the one that was hashed; without a hash, say no after as long a time.

        Raises:
            HashingBusy: too many passwords are being hashed.
        """
        try:
            check = parse_stored_hash(password_hash) if password_hash else None
        except UnsupportedHash:
            check = None
        # Other systems hashed what was typed, not its NFC form.
        forms = dict.fromkeys([normalize_password(password), password])
        with self._slot():
            is_right = any((check or self._dummy_check)(form.encode()) for form in forms)
        return is_right and check is not None

    def renew(self, password_hash: str | None, password: str) -> str | None:
        """Return a new hash of ``password`` if another system, or other parameters than today's, made the old one.

        Raises:
            HashingBusy: too many passwords are being hashed.
        """
        if password_hash is None or self._current.fullmatch(password_hash):
            return None
        return self.hash(password)


def _hash(password: str) -> str:
    made = nacl.bindings.crypto_pwhash_str_alg(
        password.encode(), PASSES, MEMORY_KIB * 1024, nacl.bindings.crypto_pwhash_ALG_ARGON2ID13
    )
    return made.rstrip(b"\0").decode()


def get_hasher() -> PasswordHasher:
    """Return the current application's hasher."""
    hasher: PasswordHasher = current_app.extensions["password_hasher"]
    return hasher


def get_policy() -> PasswordPolicy:
    """Return the current application's policy."""
    policy: PasswordPolicy = current_app.extensions["password_policy"]
    return policy
