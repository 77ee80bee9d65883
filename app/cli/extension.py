"""``extension``: what is added to the product."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from app.database import DatabaseUnavailable
from app.extending import Extension, list_setting_names, name_limit
from app.extensions import get_extensions

from .migrations import find_revisions, make_lineage
from .terminal import OperatorGroup, Report, make_table

extension_group = OperatorGroup("extension", help="Show the extensions of this application.")


@extension_group.command("list")
def list_() -> Report:
    """List the extensions in their order, and what each adds."""
    described = [describe_extension(extension) for extension in get_extensions()]
    rows = [
        (each["name"], each["version"], str(each["face"]), _write(each["migrations"]), _count(each["adds"]))
        for each in described
    ]
    table = make_table(("NAME", "VERSION", "FACE", "MIGRATIONS", "ADDS"), rows)
    lines = table if rows else ["There are none: see APP_EXTENSIONS."]
    return Report(described, lines)


def describe_extension(extension: Extension) -> dict[str, Any]:
    """Return what ``extension`` is and what it adds, by name, as JSON can hold it."""
    return {
        "name": extension.name,
        "version": extension.version,
        "face": extension.face,
        "migrations": _describe_migrations(extension),
        "adds": {
            "tables": sorted(model.__table__.name for model in extension.models),
            "routes": sorted(_list_routes(extension)),
            "permissions": sorted(extension.permissions),
            "settings": list_setting_names(extension),
            "limits": sorted(name_limit(extension, name) for name in extension.limits),
            "commands": sorted(str(command.name) for command in extension.commands),
        },
    }


def _describe_migrations(extension: Extension) -> dict[str, str | None] | None:
    """Return the migration that its tables are at and the latest one; None if it has no migrations."""
    if extension.migrations is None:
        return None
    lineage = make_lineage(extension)
    try:
        current = find_revisions(lineage).current
    except (SQLAlchemyError, DatabaseUnavailable):
        # What is listed can be told without a database.
        current = None
    return {"head": current, "wanted_head": ", ".join(lineage.load_script().get_heads()) or None}


def _write(migrations: Mapping[str, str | None] | None) -> str:
    if migrations is None or migrations["wanted_head"] is None:
        return "none"
    head, wanted = migrations["head"], migrations["wanted_head"]
    return wanted if head == wanted else f"{head or 'none'}, needs {wanted}"


def _list_routes(extension: Extension) -> Iterator[str]:
    names = {blueprint.name for blueprint in extension.blueprints}
    for rule in current_app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] in names:
            yield from (f"{method} {rule.rule}" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"})


def _count(adds: Mapping[str, Sequence[str]]) -> str:
    counts = [(len(names), kind) for kind, names in adds.items() if names]
    return ", ".join(f"{count} {kind if count > 1 else kind[:-1]}" for count, kind in counts) or "nothing"
