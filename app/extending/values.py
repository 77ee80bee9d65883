"""What is set for extensions: their settings and the limits that they name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from app.environment import list_settings, read_values
from app.ratelimit import LimitError, Limits, parse_limits
from app.ratelimit.rules import SETTING_PREFIX

from .extension import Extension
from .product import Product

LIMIT_NAME_MAX_LENGTH: Final = 64
_LIMIT_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
# What Kubernetes and Docker tell every container about a service or a linked container that is called so.
_INJECTED: Final = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_INJECTED_URL: Final = re.compile(r"(?:tcp|udp|sctp)://")


def get_prefix(extension: Extension) -> str:
    """Return what the names of the settings of ``extension`` begin with."""
    return f"{extension.name.upper()}_"


def get_prefixes(extension: Extension) -> tuple[str, str]:
    """Return what begins the names of the settings of ``extension``, and of those of its limits."""
    return get_prefix(extension), SETTING_PREFIX + get_prefix(extension)


def name_limit(extension: Extension, limit: str) -> str:
    """Return what ``limit`` of ``extension`` is called outside: ``acme-invoices-export``."""
    return f"{extension.name.replace('_', '-')}-{limit}"


def list_setting_names(extension: Extension) -> list[str]:
    """Return what the settings of ``extension`` are called, those of its limits last."""
    fields = [] if extension.settings is None else list_settings(extension.settings)
    limits = [name_setting_of(name_limit(extension, name)) for name in extension.limits]
    return [*(get_prefix(extension) + field.name.upper() for field in fields), *limits]


def name_setting_of(limit: str) -> str:
    """Return the setting that holds ``limit``, as it is called outside."""
    return SETTING_PREFIX + limit.upper().replace("-", "_")


def read_settings(extension: Extension, product: Product, faults: list[str]) -> Any:  # noqa: ANN401 - of the extension's own class
    """Return the settings of ``extension``, or None; add what is wrong to ``faults``, which show no secret."""
    wrong = list(_check_settings_class(extension))
    if wrong:
        faults += (f"{extension.name}: {fault}" for fault in wrong)
        return None
    settings_class: Any = extension.settings
    try:
        values, wrong = read_values(settings_class, product.surroundings, prefix=get_prefix(extension))
        faults += (f"{extension.name}: {fault}" for fault in wrong)
        return None if wrong else settings_class(**values)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
        # Its text may quote a value.
        has_secrets = any(field.metadata["is_secret"] for field in list_settings(settings_class))
        told = type(error).__name__ if has_secrets else f"{type(error).__name__}: {error}"
        faults.append(f"{extension.name}: its settings {settings_class.__name__} cannot be made: {told}")
        return None


def _check_settings_class(extension: Extension) -> Iterator[str]:
    settings_class: Any = extension.settings
    called = getattr(settings_class, "__name__", repr(settings_class))
    is_dataclass = isinstance(settings_class, type) and dataclasses.is_dataclass(settings_class)
    if not is_dataclass or not settings_class.__dataclass_params__.frozen:
        yield f"its settings {called} are no frozen dataclass: write @dataclass(frozen=True, kw_only=True) above it"
        return
    for field in dataclasses.fields(settings_class):
        if "parse" not in field.metadata:
            yield f"its setting {field.name} does not say how it is read: write {field.name} = setting(…)"
        if field.name.startswith(f"{extension.name}_"):
            short = field.name.removeprefix(f"{extension.name}_")
            yield f"its setting {field.name} begins with its name already, which is put before it: call it {short}"


def read_limits(extension: Extension, product: Product, faults: list[str]) -> dict[str, Limits]:
    """Return the limits of ``extension`` by the names that they have outside; add what is wrong to ``faults``."""
    limits: dict[str, Limits] = {}
    for name, default in extension.limits.items():
        full = name_limit(extension, name)
        setting = name_setting_of(full)
        if not _LIMIT_NAME.fullmatch(name) or len(full) > LIMIT_NAME_MAX_LENGTH:
            faults.append(
                f"{extension.name}: its limit {name[:80]!r}: a name has small letters, digits and single -, begins with"
                f" a letter and has at most {LIMIT_NAME_MAX_LENGTH} characters, the extension's name included"
            )
        elif full in product.limits:
            faults.append(f"the limit {full} is declared by Gatehouse and by {extension.name}: rename the extension's")
        else:
            text = product.surroundings.get(setting)
            try:
                limits[full] = parse_limits(text or default)
            except LimitError as error:
                what = setting if text else f"its limit {name}"
                faults.append(f"{extension.name}: {what}: {error}")
    return limits


def check_role_limits(product: Product, limits: Mapping[str, Limits]) -> Iterator[str]:
    """Yield what is wrong with the limits of roles, once those of all extensions are known."""
    if product.role_limits is not None:
        try:
            product.role_limits.check_names([*product.limits, *limits])
        except LimitError as error:
            yield f"RATELIMIT_ROLES: {error}"


def check_surroundings(extensions: Iterable[Extension], product: Product) -> Iterator[str]:
    """Yield what is set under the prefix of an extension and is no setting of it."""
    for extension in extensions:
        known = list_setting_names(extension)
        for prefix in get_prefixes(extension):
            yield from _find_unknown(extension, prefix, known, product.surroundings)


def _find_unknown(
    extension: Extension, prefix: str, known: Collection[str], surroundings: Mapping[str, str]
) -> Iterator[str]:
    for name, text in surroundings.items():
        rest = name.upper().removeprefix(prefix)
        if rest == name.upper() or name in known:
            continue
        if _INJECTED.fullmatch(rest) or (rest.endswith("PORT") and _INJECTED_URL.match(text)):
            continue
        has = f"it has {', '.join(known)}" if known else "it has none"
        yield f"{extension.name}: {name[:80]}: expected a setting that the extension has; {has}"
