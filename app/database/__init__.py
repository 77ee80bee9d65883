"""From a database's URL to an engine."""

from .engine import make_engine
from .url import DatabaseUrlError, parse_database_url

__all__ = ["DatabaseUrlError", "make_engine", "parse_database_url"]
