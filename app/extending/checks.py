"""Checks that extensions are in order, all of them before anything of them is registered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from app.environment import SettingsError
from app.permissions import PERMISSIONS, ROLE_NAME_MAX_LENGTH

from .collisions import Owned, find_collisions
from .extension import Extension
from .listed import Extensions
from .loading import ExtensionsRefused, check_face, check_kinds, find_extensions
from .models import check_mappers, check_models
from .names import RESERVED, check_names, find_name_fault
from .product import PRODUCT, Product
from .routes import check_routes, list_product_routes
from .values import check_role_limits, check_surroundings, read_limits, read_settings

_PERMISSION: Final = re.compile(r"([a-z][a-z0-9_-]*):[a-z][a-z0-9_-]*")


def prepare_extensions(names: Sequence[str], given: Iterable[Extension], product: Product) -> Extensions:
    """Return the extensions that ``names`` name, then those ``given``, once they are found to be in order.

    Raises:
        ExtensionsRefused: they are not; the message names every fault.
        SettingsError: a role has a limit that there is not, now that all are known.
    """
    faults: list[str] = []
    found = find_extensions(names, given, faults)
    faults += check_names(found)
    # By a wrong name nothing can be told apart, and another face may have other rules.
    named = {extension.name: extension for extension in found if find_name_fault(extension.name) is None}
    shaped = [extension for extension in named.values() if not _note(extension, check_kinds(extension), faults)]
    offered = [extension for extension in shaped if not _note(extension, check_face(extension), faults)]
    settings = {each.name: read_settings(each, product, faults) for each in offered if each.settings is not None}
    limits = {name: own for each in offered for name, own in read_limits(each, product, faults).items()}
    if found:
        faults += _check_parts(offered, product, limits)
    # A fault elsewhere may be why a name is not known.
    if not faults:
        faults += check_surroundings(offered, product)
    if faults:
        raise ExtensionsRefused(faults)
    if wrong := list(check_role_limits(product, limits)):
        raise SettingsError(wrong)
    return Extensions(found, settings=settings, limits=limits)


def _check_parts(extensions: Sequence[Extension], product: Product, limits: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with what ``extensions`` add, one by one, then what two owners would both have."""
    declared = {*PERMISSIONS, *(name for each in extensions for name in each.permissions)}
    named = [*product.limits, *limits]
    owned = [*list_product_routes(product), *(Owned("permission", name, PRODUCT) for name in PERMISSIONS)]
    if any(extension.commands for extension in extensions):
        owned += (Owned("command", name, PRODUCT) for name in product.list_commands())
    faults: list[str] = []
    for extension in extensions:
        owned += (Owned("permission", name, extension.name) for name in extension.permissions)
        owned += (Owned("command", str(command.name), extension.name) for command in extension.commands)
        _note(extension, check_models(extension, product), faults)
        _note(extension, _check_permissions(extension), faults)
        _note(extension, _check_commands(extension), faults)
        routes = check_routes(extension, product, declared=declared, limits=named, owned=owned)
        _note(extension, routes, faults)
    yield from faults
    yield from find_collisions(owned)
    # A model that is told of already may be why.
    if not faults:
        yield from check_mappers(extensions, product)


def _check_permissions(extension: Extension) -> Iterator[str]:
    for name, text in extension.permissions.items():
        form = _PERMISSION.fullmatch(name)
        if form is None or len(name) > ROLE_NAME_MAX_LENGTH:
            yield f"its permission {name[:80]!r}: expected WORD:VERB in small letters, such as invoices:read"
        elif form[1] in RESERVED and name not in PERMISSIONS:
            yield f"its permission {name}: Gatehouse keeps the word {form[1]!r} for itself, use one of your own"
        if not text.strip():
            yield f"its permission {name[:80]!r} does not say what it allows: add a few words"


def _check_commands(extension: Extension) -> Iterator[str]:
    for command in extension.commands:
        if not command.name:
            yield f"its command {command!r} has no name: give it one"


def _note(extension: Extension, found: Iterable[str], faults: list[str]) -> bool:
    """Add what was ``found`` to ``faults``, and say whether that was anything."""
    told = [f"{extension.name[:80]}: {fault}" for fault in found]
    faults += told
    return bool(told)
