"""What an extension may be called: its tables, settings, limits and routes begin with its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from .extension import Extension

NAME_MAX_LENGTH: Final = 30
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

# What the product's tables, settings and commands begin with, now or as planned, and what others' do.
RESERVED: Final = frozenset(
    word
    for line in (
        "access account accounts address addresses admin alembic allowed api app audit auth authenticator backup",
        "backups bench challenge compose config console cors credential credentials csrf database db deletion",
        "deliveries delivery device devices docker docs doctor email emails environment event events export",
        "extension extensions flask gatehouse guard guards health host identities identity invitation invitations",
        "job jobs kubernetes language languages limit limits livez log login logs mail mails mariadb metrics mfa",
        "migration migrations mysql new notification notifications oauth oidc openapi organization organizations",
        "outbox passkey passkeys password passwords permission permissions personal port postgres postgresql",
        "product proof proxy public python queue queues rate ratelimit readyz recovery redis registration remember",
        "reset role roles routes run schedule scim search secret server session sessions setting settings setup",
        "shell shutdown sign signature site sqlite static statistics tenant tenants testing tests threads token",
        "tokens totp trusted user users var verification webauthn webhook webhooks worker workers",
    )
    for word in line.split()
)


def find_name_fault(name: str) -> str | None:
    """Return what is wrong with the name of an extension, or None."""
    if len(name) > NAME_MAX_LENGTH or not _NAME.fullmatch(name):
        return (
            f"a name has small letters, digits and single _, begins with a letter and has at most {NAME_MAX_LENGTH}"
            " characters"
        )
    first = name.partition("_")[0]
    if first in RESERVED:
        return f"no name begins with {first!r}, which the product keeps for itself: put your own name before it"
    return None


def check_names(extensions: Sequence[Extension]) -> Iterator[str]:
    """Yield what is wrong with the names of ``extensions``: none may be another's, or begin with it and ``_``."""
    for extension in extensions:
        if fault := find_name_fault(extension.name):
            yield f"{extension.name[:80]!r}: {fault}"
    names = sorted(extension.name for extension in extensions)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            if other == name:
                yield f"{name}: two extensions have this name: list one of them"
            elif other.startswith(f"{name}_"):
                yield f"{name} and {other}: one begins with the other, so that tables could be either's: rename one"
