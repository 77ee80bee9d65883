"""The command line while settings are wrong: every command names the faults, and ``doctor`` still works."""

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup

from app.environment import SettingsError

from .doctor import FAULTS, doctor_command
from .terminal import Failure


class _UnconfiguredGroup(AppGroup):
    def __init__(self, error: SettingsError) -> None:
        super().__init__()
        self.add_command(doctor_command)
        self._error = error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            raise _SettingsFailure(str(self._error))
        return command


class _SettingsFailure(Failure):
    """The message of the settings, with a line for each fault."""

    def format_message(self) -> str:
        return "\n".join(Failure(line).format_message() for line in self.message.splitlines())


def is_command_looked_up() -> bool:
    """Say whether the application is being made for its commands, and not to be served."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def make_unconfigured_app(error: SettingsError) -> Flask:
    """Return an application without routes, whose only command is ``doctor``."""
    app = Flask(__name__, static_folder=None)
    app.extensions[FAULTS] = error
    app.cli = _UnconfiguredGroup(error)
    return app
