"""The house's rules, to which an extension is held: each is a function that yields a sentence for each fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flask import Flask

from app.extending import Extension
from gatehouse.testing.rows import Fault, Values

from .declarations import (
    find_foreign_imports,
    find_wrong_columns,
    find_wrong_constraints,
    find_wrong_errors,
    find_wrong_faces,
    find_wrong_tables,
)
from .migrations import (
    find_columns_without_default,
    find_crowded_migrations,
    find_missing_migrations,
    find_wrong_migrations,
)
from .operations import (
    find_accepted_bad_input,
    find_unchecked_permissions,
    find_undeclared_answers,
    find_undocumented,
    find_unguarded,
)
from .operators import (
    find_failing_health,
    find_undocumented_settings,
    find_unused_limits,
    find_wrong_defaults,
)
from .subject import Subject
from .users import find_wrong_deletions, find_wrong_descriptions, find_wrong_exports

DECLARED: Final[Sequence[Callable[[Extension], Iterator[str]]]] = (
    find_wrong_faces,
    find_foreign_imports,
    find_wrong_tables,
    find_wrong_columns,
    find_wrong_constraints,
    find_wrong_errors,
    find_missing_migrations,
    find_crowded_migrations,
    find_columns_without_default,
    find_wrong_defaults,
    find_undocumented_settings,
)
"""What can be seen without an application."""

SERVED: Final[Sequence[Callable[[Subject], Iterator[str]]]] = (
    find_failing_health,  # the first, while there are no rows
    find_unused_limits,
    find_unguarded,
    find_unchecked_permissions,
    find_undocumented,
    find_accepted_bad_input,
    find_wrong_deletions,
    find_wrong_exports,
    find_wrong_descriptions,
    find_undeclared_answers,
)
"""What is tried on an application with a database."""


def list_faults(extension: Extension, serve: Callable[..., Flask], values: Values) -> Iterator[str]:
    """Yield what is wrong with ``extension``.

    ``serve(is_migrated=True)`` returns an application that has it, on a database of its own.
    """
    for look in DECLARED:
        yield from look(extension)
    try:
        if extension.migrations is not None:
            faults = list(find_wrong_migrations(serve(is_migrated=False), extension))
            yield from faults
            if faults:
                return  # without the right tables everything else is wrong too
        subject = Subject(serve(is_migrated=True), extension, values)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
        yield str(error) if isinstance(error, Fault) else f"it cannot be served: {type(error).__name__}: {error}"
        return
    for attempt in SERVED:
        try:
            yield from attempt(subject)
        except Fault as fault:
            yield str(fault)
