"""Load the settings, build the app, serve it; ``flask --app run`` and WSGI servers call ``create_app``."""

import dataclasses
import logging
import sys

from flask import Flask

from app.config import Settings, load_settings
from app.environment import SettingsError
from app.http.bodies import MAX_BODY_BYTES
from app.product import load_extensions
from app.server.listener import CannotListen, check_can_listen
from app.utils import configure_logging
from gatehouse import create_app

logger = logging.getLogger("gatehouse")


def main() -> None:
    """Serve the application until a signal comes; ``flask --app run run --debug`` reloads changed code instead."""
    from app.server.master import serve  # noqa: PLC0415 - no command has to wait for the server's import

    try:
        settings = load_settings()
        # Here too: one message, instead of a worker that ends.
        load_extensions(settings)
        check_can_listen(settings.host, settings.port)
    except (SettingsError, CannotListen) as error:
        sys.exit(str(error))
    configure_logging(level=settings.log_level, is_json=settings.log_format == "json")
    serve(
        lambda: _make_app(_load_settings_anew(settings)),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        threads=settings.threads,
        max_body_bytes=MAX_BODY_BYTES,
        shutdown_delay=settings.shutdown_delay,
        shutdown_timeout=settings.shutdown_timeout,
    )


def _make_app(settings: Settings) -> Flask:
    """Return the application of a process that serves."""
    from app.worker import start_in_process  # noqa: PLC0415 - no command has to wait for it

    app = create_app(settings)
    start_in_process(app)
    return app


def _load_settings_anew(former: Settings) -> Settings:
    """Return the settings of now, so that SIGHUP takes up a changed ``.env``; while they are wrong, the former."""
    try:
        loaded = load_settings()
        load_extensions(loaded)
        # What all processes share stays until the next start: some of them may not have been told yet, and the tables
        # of another extension are not there.
        settings = dataclasses.replace(
            loaded,
            workers=former.workers,
            threads=former.threads,
            database_url=former.database_url,
            app_extensions=former.app_extensions,
        )
        load_extensions(settings)
    except SettingsError as error:
        # Not the stack: the text names what is wrong, and no secret.
        logger.error("this worker goes on with the settings of the start: %s", error)  # noqa: TRY400
        return former
    if settings.app_env != former.app_env:
        # A file that is empty or cut off would take every defence away that production has by default.
        logger.error("this worker goes on with the settings of the start: APP_ENV has changed")
        return former
    return settings


if __name__ == "__main__":
    main()
