"""What the product has, and the extensions that fit beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .config import Settings
from .environment import list_settings
from .extending import Extension, Extensions, Product, prepare_extensions
from .http.openapi import Blueprint
from .models import Base, User, list_product_tables
from .routes import BLUEPRINTS
from .security import find_guard


def load_extensions(settings: Settings, given: Sequence[Extension] = ()) -> Extensions:
    """Return the extensions that ``settings`` list, then those ``given``, once all of them are found to be in order.

    Raises:
        ExtensionsRefused: they are not; the message names every fault.
    """
    product = Product(
        surroundings=settings.surroundings,
        role_limits=settings.ratelimit_roles,
        limits=settings.rate_limits,
        setting_names=[field.name.upper() for field in list_settings(Settings)],
        base=Base,
        tables=list_product_tables(),
        users=User.__tablename__,
        blueprints=BLUEPRINTS,
        blueprint_class=Blueprint,
        find_guard=find_guard,
        list_commands=_list_commands,
    )
    return prepare_extensions(settings.app_extensions, given, product)


def _list_commands() -> Collection[str]:
    from .cli.commands import COMMANDS  # noqa: PLC0415 - a server runs none

    # Flask's own and Flask-Migrate's; the last are planned.
    others = ("run", "shell", "routes", "db", "audit", "new", "worker")
    return [*others, *(command.name for command in COMMANDS if command.name)]
