"""The keys that sign cookies and links: how strong they have to be, and where a developer's own is kept."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from .guesses import estimate_guesses

MIN_LENGTH: Final = 32
# Random characters take 10**27 guesses at least, hexadecimal ones too (the least of 2,000), a sentence 10**26 at most.
MIN_GUESSES: Final = 3 * 10**26


def check_secret_key(key: str) -> str:
    """Return ``key``, which is strong enough to sign with.

    Raises:
        ValueError: it is not; the message completes "expected …".
    """
    is_text = len(key.split()) > 1
    if len(key) < MIN_LENGTH or is_text or estimate_guesses(key) < MIN_GUESSES:
        raise ValueError(
            f"at least {MIN_LENGTH} random characters, no words, rows or repetitions;"
            " make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    return key


def keep_secret_key(path: Path) -> str:
    """Return the key kept at ``path``, made now if there is none. Two processes at once agree on one key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Its owner alone may read it from the first moment on; its name is new, whoever died half-way before.
        descriptor, draft = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(48))
            # A link fails when another process was first; a rename would replace its key.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            Path(draft).unlink()
    if path.stat().st_mode & 0o077:
        # A restored backup or a generous umask of whoever copied it.
        path.chmod(0o600)
    return path.read_text().strip()
