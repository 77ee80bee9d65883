"""What the product has, and the extensions that fit beside it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from .config import Settings
from .extending import Extension, Extensions, Product, prepare_extensions
from .http.openapi import Blueprint, list_names
from .models import Base, User, list_product_tables
from .routes import BLUEPRINTS
from .security import find_guard
from .utils import escape_controls

logger = logging.getLogger(__name__)


def load_extensions(settings: Settings, given: Sequence[Extension] = ()) -> Extensions:
    """Return the extensions that ``settings`` list, then those ``given``, once all of them are found to be in order.

    Raises:
        ExtensionsRefused: they are not; the message names every fault.
    """
    return prepare_extensions(settings.app_extensions, given, describe_product(settings))


def warn_of_unknown_names(settings: Settings, extensions: Extensions) -> None:
    """Name in the log what the file .env sets and is a setting of nobody."""
    for name in settings.unknown_names:
        if not name.startswith(tuple(extensions.prefixes)):
            logger.warning("the file .env sets %s, which is no setting of ours", escape_controls(name))


def describe_product(settings: Settings) -> Product:
    """Return what the product has where these are its settings."""
    return Product(
        surroundings=settings.surroundings,
        role_limits=settings.ratelimit_roles,
        limits=settings.rate_limits,
        base=Base,
        tables=list_product_tables(),
        users=User.__tablename__,
        blueprints=BLUEPRINTS,
        blueprint_class=Blueprint,
        list_names=list_names,
        find_guard=find_guard,
        list_commands=_list_commands,
    )


def _list_commands() -> Collection[str]:
    from .cli.commands import COMMANDS  # noqa: PLC0415 - a server runs none

    # Flask's own and Flask-Migrate's; the last is planned.
    others = ("run", "shell", "routes", "db", "audit")
    return [*others, *(command.name for command in COMMANDS if command.name)]
