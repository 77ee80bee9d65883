"""TEMP."""

import sqlalchemy as sa


class DatabaseUrlError(ValueError):
    """The database's URL is wrong."""


def parse_database_url(text: str) -> sa.URL:
    """Return the URL."""
    try:
        return sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise DatabaseUrlError("a URL such as sqlite:///var/app.db") from error
