"""The operator's commands, ``flask --app run …``. A server runs none, so they are imported when one is looked up."""

from collections.abc import Sequence

import click
from flask import Flask, has_app_context
from flask.cli import AppGroup

from app.extensions import load_migrations


class Commands(AppGroup):
    """The group of all commands, which imports them when one is looked up."""

    def __init__(self, app: Flask, added: Sequence[click.Command] = ()) -> None:
        """Make the group of the product's commands and those ``added`` by extensions."""
        super().__init__(app.name)
        self._app = app
        self._added = added
        self._are_imported = False

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None; it has the application's context, as ``flask`` gives it."""
        self._import()
        if not has_app_context():
            ctx.with_resource(self._app.app_context())
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        self._import()
        return super().list_commands(ctx)

    def _import(self) -> None:
        if not self._are_imported:
            from .commands import COMMANDS  # noqa: PLC0415 - this class exists for it

            for command in (*COMMANDS, *self._added):
                self.add_command(command)
            from .database import choose_lineage, make_database_group  # noqa: PLC0415 - likewise

            load_migrations(self._app).migrate.configure(choose_lineage)
            self.add_command(make_database_group())
            self._are_imported = True
