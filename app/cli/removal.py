"""``extension remove``: the only way that drops an extension's tables."""

import click
import sqlalchemy as sa
from alembic import command

from app.database.locks import hold_lock
from app.database.schema import drop_tables
from app.extending.tables import name_progress_table, name_version_table
from app.extensions import db, get_extensions
from app.security import Actor
from app.services import extensions

from .downgrades import list_references
from .migrations import explain_failures, find_revisions, list_tables, make_lineage
from .terminal import Failure, OperatorCommand, Report, note


@click.command("remove", cls=OperatorCommand)
@click.argument("name")
@click.option("--with-data", is_flag=True, help="Drop its tables, and all that they hold.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_command(name: str, *, with_data: bool, yes: bool) -> Report:
    """Drop an extension's tables; without --with-data it only says how to do without the extension."""
    with db.engine.connect() as connection:
        tables = list_tables(connection, name)
        is_known = name in {extension.name for extension in get_extensions()} or bool(
            sa.inspect(connection).has_table(name_version_table(name))
        )
        users = sorted({f"{table} refers to {to}" for table, to, _ in list_references(connection, tables)})
        rows = {table: _count_rows(connection, table) for table in tables}
    if not is_known:
        raise Failure(f"No extension {name} is loaded, and none has had tables here.")
    if not with_data:
        line = f"Take {name} off APP_EXTENSIONS: that is enough. Its tables stay, until --with-data drops them."
        return Report({"name": name, "dropped": [], "tables": tables}, [line])
    if users:
        raise Failure(f"Other tables need those of {name}: {', '.join(users)}. Remove theirs first.")
    for table, count in rows.items():
        note(f"{table}: {count} rows")
    if not yes:
        click.confirm(f"Drop these tables of {name} for good?", abort=True, err=True)
    # What is dropped does not come back: should this end half-way, the trail has told of it.
    extensions.record_removal(name, tables, actor=Actor.system(), is_done=False)
    _drop(name)
    extensions.record_removal(name, tables, actor=Actor.system(), is_done=True)
    line = f"Dropped the tables of {name}. Take it off APP_EXTENSIONS: the next setup would make them again."
    return Report({"name": name, "dropped": tables, "tables": []}, [line])


def _drop(name: str) -> None:
    """Run its migrations down where they are there, and drop whatever is left."""
    with hold_lock(db.engine, "migrations"):
        extension = next((extension for extension in get_extensions() if extension.name == name), None)
        if extension is not None and extension.migrations is not None:
            lineage = make_lineage(extension)
            revisions = find_revisions(lineage)
            if revisions.current is not None and not revisions.is_ahead:
                config = lineage.make_config()
                config.attributes["is_locked"] = True
                with explain_failures(lineage):
                    command.downgrade(config, "base")
        version_table = name_version_table(name)
        with db.engine.connect() as connection:
            left = [*list_tables(connection, name), version_table, name_progress_table(version_table)]
        drop_tables(db.engine, left)


def _count_rows(connection: sa.Connection, table: str) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
