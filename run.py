"""Load the settings, build the app, serve it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from app import create_app as build_app
from app.cli import is_command_looked_up, make_unconfigured_app
from app.config import SettingsError, load_settings

if TYPE_CHECKING:
    from flask import Flask


def create_app() -> Flask:
    """Return the application of this environment; ``flask --app run`` and WSGI servers call it."""
    try:
        return build_app(load_settings())
    except SettingsError as error:
        if is_command_looked_up():
            return make_unconfigured_app(error)
        sys.exit(str(error))


if __name__ == "__main__":
    create_app().run()
