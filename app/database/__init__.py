"""From a database's URL to an engine that keeps its promises."""

from .engine import make_engine
from .url import DatabaseTarget, DatabaseUrlError, parse_database_url

__all__ = ["DatabaseTarget", "DatabaseUrlError", "make_engine", "parse_database_url"]
