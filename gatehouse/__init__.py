"""What extensions import: the public face of the product, and all that it promises to them.

``docs/face.md`` lists it, ``tests/house/face.txt`` spells it out. To add a name, import it and put it into a group of
``__all__``; ``python -m tests.house.test_face`` then writes both files.
"""

import sys
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from flask import Flask
from uuid_utils.compat import uuid7

import app as _product
from app.cli.terminal import Failure, OperatorCommand, OperatorGroup, Report, make_table
from app.clock import now
from app.config import Settings, load_settings
from app.database import refuse_duplicate, refuse_missing
from app.database.types import EnumString, ExactDecimal, ExactString, UtcDateTime
from app.environment import SettingsError, parse_bool, parse_choice, parse_int, parse_text, setting, split_list
from app.extending import FACE, Extension
from app.extensions import db, get_settings, retried, transaction
from app.http.csv_files import answer_csv
from app.http.limits import user
from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.models import Base, Model, User
from app.ratelimit import address, exempt, rate_limit
from app.schemas import Changes, Input, Output, PageQuery
from app.schemas.values import Amount, Choice, Date, Flag, Instant, QueryFlag, Text, Whole, WholeNumber
from app.search import Searched, SearchIndex
from app.security import Actor, PermissionMissing, public, requires
from app.services import audit
from app.services.cursors import InvalidCursor, Sort
from app.services.pages import Listing, Page, filter_by
from app.services.rows import check_reference, claim, get_row, owned_by, refuse_to_give_away
from app.utils import AppError, Conflict, Forbidden, InvalidInput, Message, NotFound

__all__ = [  # noqa: RUF022 - in groups, as docs/face.md has them
    # The application
    "create_app", "Extension", "FACE",
    # Settings
    "Settings", "SettingsError", "load_settings", "setting", "get_settings",
    "parse_bool", "parse_choice", "parse_int", "parse_text", "split_list",
    # Tables
    "Base", "Model", "User", "EnumString", "ExactDecimal", "ExactString", "UtcDateTime", "uuid7", "now",
    "db", "retried", "transaction", "refuse_duplicate", "refuse_missing",
    # Lists
    "Listing", "filter_by", "Page", "Sort", "InvalidCursor", "Searched", "SearchIndex",
    # Routes and who may call them
    "Blueprint", "public", "requires", "PermissionMissing", "Actor", "get_actor", "answer_csv",
    # Rows, and whose they are
    "get_row", "check_reference", "owned_by", "claim", "refuse_to_give_away",
    # Limits
    "rate_limit", "address", "user", "exempt",
    # JSON
    "Input", "Changes", "Output", "PageQuery", "Amount", "Choice", "Date", "Flag", "Instant", "QueryFlag", "Text",
    "Whole", "WholeNumber",
    # Commands
    "OperatorCommand", "OperatorGroup", "Report", "Failure", "make_table",
    # The audit trail
    "audit",
    # Errors
    "AppError", "Conflict", "Forbidden", "InvalidInput", "Message", "NotFound",
]  # fmt: skip

DEPRECATED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({})
"""Names that still work: what to use instead, and the release in which each goes: two minor releases later."""


def create_app(settings: Settings | None = None, extensions: Sequence[Extension] = ()) -> Flask:
    """Return the application that ``settings`` describe, with ``extensions``; by default, the settings of this place.

    Those are the environment's and those of ``.env`` in the working folder (in a clone, in its folder). While they are
    wrong, an application that is made for a command of ``flask`` has the command ``doctor`` only.

    Raises:
        SettingsError: ``settings`` and ``extensions`` do not fit together.
        SystemExit: the settings of this place are wrong; the message names all faults and shows no secret.
    """
    if settings is not None:
        return _product.create_app(settings, extensions)
    try:
        return _product.create_app(load_settings(), extensions)
    except SettingsError as error:
        # No command has to wait for what only a faulty start needs.
        from app.cli.unconfigured import is_command_looked_up, make_unconfigured_app  # noqa: PLC0415

        if is_command_looked_up():
            return make_unconfigured_app(error)
        sys.exit(str(error))


# A type checker would take every misspelt name for one of these.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return what a deprecated name stands for, with a warning."""
        if name not in DEPRECATED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        instead, release = DEPRECATED[name]
        warnings.warn(f"gatehouse.{name} goes in {release}: use gatehouse.{instead}.", DeprecationWarning, stacklevel=2)
        return globals()[instead]
