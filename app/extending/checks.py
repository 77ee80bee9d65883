"""Checks that extensions are in order, all of them before anything of them is registered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .extension import Extension
from .listed import Extensions
from .loading import ExtensionsRefused, check_face, find_extensions
from .names import check_names
from .product import Product
from .values import check_role_limits, read_limits, read_settings


def prepare_extensions(names: Sequence[str], given: Iterable[Extension], product: Product) -> Extensions:
    """Return the extensions that ``names`` name, then those ``given``, once they are found to be in order.

    Raises:
        ExtensionsRefused: they are not; the message names every fault.
    """
    faults: list[str] = []
    found = find_extensions(names, given, faults)
    faults += check_names(found)
    checked = [extension for extension in found if not _note(extension, check_face(extension), faults)]
    settings = {each.name: read_settings(each, product, faults) for each in checked if each.settings is not None}
    limits = {name: own for each in checked for name, own in read_limits(each, product, faults).items()}
    # The limits of one that cannot be read are not known.
    if not faults:
        faults += check_role_limits(product, limits)
    if faults:
        raise ExtensionsRefused(faults)
    return Extensions(found, settings=settings, limits=limits)


def _note(extension: Extension, found: Iterable[str], faults: list[str]) -> bool:
    """Add what was ``found`` to ``faults``, and say whether that was anything."""
    told = [f"{extension.name}: {fault}" for fault in found]
    faults += told
    return bool(told)
