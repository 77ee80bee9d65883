"""Checks of the models that extensions add."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from .extension import Extension
from .product import Product
from .tables import NAME_MAX_BYTES, find_owner

_CHOICES = ("keep", "refuse", "delete")


def check_models(extension: Extension, product: Product) -> Iterator[str]:
    """Yield what is wrong with the models of ``extension``, its migrations' folder and what becomes of users' rows."""
    models = []
    for model in extension.models:
        if issubclass(model, product.base) and hasattr(model, "__table__"):
            models.append(model)
        else:
            yield f"its model {model.__name__} is no model: derive it from gatehouse.Base"
    # Those of its package too: importing has declared them already.
    declared = [mapper.class_ for mapper in product.base.registry.mappers if _is_inside(mapper.class_, extension)]
    for model in dict.fromkeys([*models, *declared]):
        if find_owner(model.__table__.name, [extension.name]) is None:
            own = f"{extension.name}_{model.__table__.name}"
            yield f"the table {model.__table__.name} of its model {model.__name__} needs its name before it: {own}"
        elif model not in models:
            yield f"its model {model.__name__} is not among its models: add it"
    tables = _list_tables(extension, product, models)
    if tables or models:
        yield from _check_folder(extension)
    for table in tables:
        yield from _check_table(table)
    yield from _check_references(extension, product, tables, models)


def check_mappers(extensions: Sequence[Extension], product: Product) -> Iterator[str]:
    """Yield why the models cannot be used: one that does not fit would fail whatever is asked of any, users too."""
    try:
        product.base.registry.configure()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the fault of whoever wrote the model
        # The text names the first such model with its table, as Mapper[Invoice(acme_invoices)].
        names = [each.name for each in extensions if re.search(rf"\({each.name}[_)]", str(error))]
        yield f"{' and '.join(names) or 'a package'}: its models cannot be used: {type(error).__name__}: {error}"


def _check_table(table: sa.Table) -> Iterator[str]:
    """Yield what is wrong with what ``table`` is called, or refers to."""
    if table.schema is not None:
        yield f"its table {table.fullname} is in a schema of its own: take schema= out, not every database has them"
    parts = [table, *table.columns, *table.constraints, *table.indexes]
    for name in sorted({str(part.name) for part in parts if part.name}):
        if len(name.encode()) > NAME_MAX_BYTES:
            yield f"the name {name} is longer than the {NAME_MAX_BYTES} bytes that every database takes: shorten it"
    for key in table.foreign_keys:
        try:
            key.column  # noqa: B018 - it is looked up
        except sa.exc.NoReferenceError:
            yield f"its table {table.name} refers to {key.target_fullname}, which there is not: correct it"


def _list_tables(extension: Extension, product: Product, models: list[type[Any]]) -> list[sa.Table]:
    """Return the tables of ``extension``; what others declare in this process is theirs, whatever it is called."""
    classes = {mapper.local_table: mapper.class_ for mapper in product.base.registry.mappers}
    own = {model.__table__ for model in models}
    own |= {table for table, model in classes.items() if _is_inside(model, extension)}
    # One without a model does not say who declared it, but its name may begin with that of another package.
    names = [extension.name, *(model.__module__.partition(".")[0] for model in classes.values())]
    return [
        table
        for table in product.base.metadata.tables.values()
        if table in own or (table not in classes and find_owner(table.name, names) == extension.name)
    ]


def _is_inside(model: type[Any], extension: Extension) -> bool:
    return f"{model.__module__}.".startswith(f"{extension.name}.")


def _check_folder(extension: Extension) -> Iterator[str]:
    if extension.migrations is None:
        yield 'it has models and no migrations: write migrations=Path(__file__).parent / "migrations"'
    elif not extension.migrations.is_dir():
        yield f"the folder of its migrations is missing: mkdir -p '{extension.migrations}'"


def _check_references(
    extension: Extension, product: Product, tables: list[sa.Table], models: list[type[Any]]
) -> Iterator[str]:
    """Yield what is wrong between what refers to a user and what is said of users who are deleted."""
    by_table = {model.__table__: model for model in models}
    for table in tables:
        targets = {key.target_fullname.rpartition(".")[0] for key in table.foreign_keys}
        for target in sorted(targets.difference(product.tables)):
            if find_owner(target, [extension.name]) is None:
                yield f"its table {table.name} refers to {target}, neither its own nor Gatehouse's: keep the id only"
        if product.users in targets:
            model = by_table.get(table)
            if model is None:
                yield f"its table {table.name} refers to users and has no model: make one, for on_user_deletion to name"
            elif model not in extension.on_user_deletion:
                yield (
                    f"its model {model.__name__} refers to users: say in on_user_deletion what becomes of its rows:"
                    f" {', '.join(_CHOICES)}"
                )
    for model, choice in extension.on_user_deletion.items():
        yield from _check_choice(model, choice, product, models)


def _check_choice(model: type[Any], choice: str, product: Product, models: list[type[Any]]) -> Iterator[str]:
    called = f"on_user_deletion names {getattr(model, '__name__', repr(model))}"
    if choice not in _CHOICES:
        yield f"{called} with {choice!r}: expected {', '.join(_CHOICES)}"
    if model not in models:
        yield f"{called}, which is none of its models"
        return
    keys = [key for key in model.__table__.foreign_keys if key.target_fullname.rpartition(".")[0] == product.users]
    if not keys:
        yield f"{called}, which does not refer to users: take it out"
    for key in keys:
        if choice == "keep" and not key.parent.nullable:
            yield f'{called} with "keep", but {key.parent.name} cannot be empty: make it nullable, or choose another'
