"""Shared machinery, created empty; ``create_app`` fills it in."""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, overload

import sqlalchemy as sa
from flask import Flask, current_app, g
from flask import session as browser_session
from flask_login import LoginManager
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.local import LocalProxy

from .config import Settings
from .database import READS_ONCE, DatabaseUnavailable, Lookup, Query, run_again
from .extending import Extensions
from .ratelimit import Limiter

T = TypeVar("T")
P = ParamSpec("P")

_EXTENSION: Final = "database"
_SIDE_WORK: Final = "database_side_work"
_MIGRATIONS: Final = "migrate"
_MIGRATIONS_FOLDER: Final = Path(__file__).with_name("migrations")
_SESSION: Final = "_database_session"
_MAIL_SIGNAL: Final = "mail_signal"
_IS_WRITING: Final = "is_writing"
_HAS_MAIL: Final = "has_mail"
RETRIED: Final = "_is_retried"
"""The mark of a function that is run again."""
BROWSER_KEY: Final = "_user_id"
"""Where the browser's session holds its token: the place that Flask-Login forgets when somebody signs out."""


class Database:
    """The application's engine, and one SQLAlchemy session for each application context."""

    def init_app(self, app: Flask, engine: sa.Engine) -> None:
        """Give ``app`` its engine; sessions end with the application context that they began in."""
        app.extensions[_EXTENSION] = sessionmaker(engine, expire_on_commit=False)
        app.extensions[_SIDE_WORK] = threading.Lock()
        app.extensions[_MAIL_SIGNAL] = threading.Event()
        app.teardown_appcontext(self._close_session)

    @property
    def engine(self) -> sa.Engine:
        """The current application's engine."""
        engine: sa.Engine = current_app.extensions[_EXTENSION].kw["bind"]
        return engine

    @property
    def session(self) -> Session:
        """The session of the current application context: for reading, and inside ``transaction()`` for writing."""
        if _SESSION not in g:
            setattr(g, _SESSION, self._factory())
        session: Session = getattr(g, _SESSION)
        return session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session of its own that only reads; what it loaded outlives it.

        Each statement is one round trip and sees what is stored at that moment: there is no transaction around them.
        """
        with self._factory() as session:
            session.connection(execution_options={READS_ONCE: True})
            yield session
            session.expunge_all()

    def find(self, lookup: Lookup, value: str) -> Any:  # noqa: ANN401 - a named tuple of the look-up's columns
        """Return the row that ``lookup`` finds by ``value``, or None: one round trip, no model, no session."""
        return lookup.find(current_app.extensions[_EXTENSION].kw["bind"], value)

    def fetch(self, query: Query[T], parameters: Mapping[str, Any]) -> list[T]:
        """Return the rows of ``query``: one round trip, no model, no session."""
        return query.fetch(self.engine, parameters)

    def do_if_idle(self, side_work: Callable[[], object]) -> None:
        """Do ``side_work``, which no answer needs, unless this process is doing some already.

        On a disk that hesitates, commits of such work would otherwise hold all connections, and answers would want one.
        """
        is_busy: threading.Lock = current_app.extensions[_SIDE_WORK]
        if is_busy.acquire(blocking=False):
            try:
                side_work()
            finally:
                is_busy.release()

    @property
    def _factory(self) -> sessionmaker[Session]:
        factory: sessionmaker[Session] = current_app.extensions[_EXTENSION]
        return factory

    @staticmethod
    def _close_session(_error: BaseException | None) -> None:
        session: Session | None = g.pop(_SESSION, None)
        if session is None:
            return
        try:
            session.close()
        except (DatabaseUnavailable, DBAPIError):
            # The answer stands already; nothing was left to store.
            session.invalidate()


class _LoginManager(LoginManager):  # type: ignore[misc] # Flask-Login ships no types
    """Flask-Login with nothing but the session's token: sessions here are rows, and a remembered one is too.

    It would hash the caller's IP and browser on each request, and look for cookies, headers and listeners of its own.
    """

    def _load_user(self) -> None:
        token = browser_session.get(BROWSER_KEY)
        self._update_request_context_with_user(None if token is None else self._user_callback(token))

    def init_app(self, app: Flask) -> None:
        """Load the callers of ``app``."""
        app.login_manager = self  # type: ignore[attr-defined] # where Flask-Login looks for it


db = Database()
login_manager = _LoginManager()
csrf = CSRFProtect()
limiter = Limiter()


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Have ``function`` run again, where that is safe, when the connection is lost under it or another wins a race.

    It must hold whole transactions and read anew whatever it decides on. A commit whose outcome is unknown is never
    repeated. Called inside a transaction it is part of that, and all of it is run again, or nothing.

    Raises:
        DatabaseUnavailable: the database stayed away.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        session: Session | None = g.get(_SESSION)
        if session is not None and session.info.get(_IS_WRITING):
            return function(*args, **kwargs)

        def attempt() -> T:
            try:
                return function(*args, **kwargs)
            except (DatabaseUnavailable, DBAPIError):
                # What was read on the lost connection goes with it.
                db.session.rollback()
                raise

        return run_again(attempt)

    setattr(run, RETRIED, True)
    return run


def defer_migrations(app: Flask) -> None:
    """Have Flask-Migrate take ``app`` when somebody asks for it: to import Alembic is a fifth of the start."""
    app.extensions[_MIGRATIONS] = LocalProxy(lambda: load_migrations(app))


def load_migrations(app: Flask) -> Any:  # noqa: ANN401 - Flask-Migrate ships no types
    """Return what Flask-Migrate keeps of ``app``, which has its command ``db`` from then on."""
    from flask_migrate import Migrate  # noqa: PLC0415 - see above

    if isinstance(app.extensions[_MIGRATIONS], LocalProxy):
        Migrate(app, db, directory=str(_MIGRATIONS_FOLDER))
    return app.extensions[_MIGRATIONS]


@overload
def get_settings() -> Settings: ...
@overload
def get_settings(settings_class: type[T]) -> T: ...
def get_settings(settings_class: type[Any] | None = None) -> Any:
    """Return the current application's settings; of an extension, where its class of settings is given.

    Raises:
        LookupError: no extension of the application has that class.
    """
    if settings_class is not None:
        return get_extensions().get_settings(settings_class)
    return current_app.extensions["settings"]


def get_extensions() -> Extensions:
    """Return what others added to the current application."""
    extensions: Extensions = current_app.extensions["extending"]
    return extensions


def get_permissions() -> frozenset[str]:
    """Return the permissions that are declared in the current application: the product's and its extensions'."""
    return get_extensions().declared


@contextmanager
def transaction() -> Iterator[Session]:
    """Yield the session; commit what the block did, all or nothing.

    It holds the only commit there is. Each public function of a service enters it once.

    Raises:
        RuntimeError: the block was entered inside another one: call a private helper that flushes instead.
    """
    session = db.session
    if session.info.get(_IS_WRITING):
        raise RuntimeError("a transaction was entered inside another; call a helper that only flushes instead")
    # A read that happened before has its own snapshot: it ends here, so that what is checked now is checked on what
    # is stored now.
    session.rollback()
    session.info[_IS_WRITING] = True
    try:
        session.connection(execution_options={"is_write": True})
        yield session
        session.commit()
        if session.info.get(_HAS_MAIL):
            get_mail_signal().set()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info[_IS_WRITING] = session.info[_HAS_MAIL] = False


def announce_mail() -> None:
    """Have this process look for mail to send as soon as the current transaction is committed."""
    db.session.info[_HAS_MAIL] = True


def get_mail_signal() -> threading.Event:
    """Return what is set when the current application has stored mail; nobody may be waiting for it."""
    signal: threading.Event = current_app.extensions[_MAIL_SIGNAL]
    return signal
