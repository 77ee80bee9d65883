"""What every test can ask for: settings, an application on a migrated database of its own, and browsers."""

from __future__ import annotations

import datetime
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask_migrate import upgrade

from app import create_app, utils
from app.config import Settings
from app.security import passwords
from tests.factories import Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

SERVERS = ("postgresql", "mariadb", "redis", "chromium")

TEST_ENVIRON = {
    "APP_ENV": "testing",
    "SECRET_KEY": "tests only: 0123456789abcdefghijklmnopqrstuvwxyz",
    "ADMIN_EMAIL": "root@example.com",
    "RATELIMIT_ENABLED": "false",
    "LOG_LEVEL": "DEBUG",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a server be left out: ``--without mariadb``."""
    parser.addoption("--without", action="append", default=[], choices=SERVERS, help="leave out the tests that need it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked ``server(name)`` of a server that was left out."""
    absent = set(config.getoption("--without"))
    kept = [item for item in items if not absent & {mark.args[0] for mark in item.iter_markers("server")}]
    left_out = [item for item in items if item not in kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all migrations applied; tests start from a copy of it."""
    path = tmp_path_factory.mktemp("template") / "app.db"
    app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": f"sqlite:///{path}"}))
    with app.app_context():
        upgrade()
        app.extensions["database"].kw["bind"].dispose()
    return path


@pytest.fixture
def environ(template: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of the test's application; change it before asking for ``app``, or use ``make_app``."""
    path = tmp_path / "app.db"
    shutil.copy(template, path)
    return TEST_ENVIRON | {"DATABASE_URL": f"sqlite:///{path}"}


@pytest.fixture(scope="session", autouse=True)
def cheap_hashing() -> Iterator[None]:
    """Hash cheaply: the passwords of tests need no protection, and hashing them well would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "MEMORY_KIB", 8)
        patch.setattr(passwords, "PASSES", 1)
        yield


@pytest.fixture(scope="module")
def make_shared_app(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Flask]]:
    """Make an application, and a database, that all tests of a module share."""
    apps: list[Flask] = []

    def make(**changes: str) -> Flask:
        path = tmp_path_factory.mktemp("shared") / "app.db"
        shutil.copy(template, path)
        environ = TEST_ENVIRON | {"DATABASE_URL": f"sqlite:///{path}"} | changes
        apps.append(create_app(Settings.from_environ(environ)))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["database"].kw["bind"].dispose()


@pytest.fixture
def make_app(environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Make an application with other settings: ``make_app(REGISTRATION="closed")``."""
    apps: list[Flask] = []

    def make(**changes: str) -> Flask:
        apps.append(create_app(Settings.from_environ(environ | changes)))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["database"].kw["bind"].dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application, with rate limits off."""
    return make_app()


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.instant = datetime.datetime.now(datetime.UTC)

    def now(self) -> datetime.datetime:
        """Return what the clock shows."""
        return self.instant

    def advance(self, seconds: float) -> None:
        """Turn the clock."""
        self.instant += datetime.timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The application's clock, which the test turns."""
    clock = Clock()
    monkeypatch.setattr(utils, "clock", clock)
    return clock


@pytest.fixture
def statements(app: Flask) -> Iterator[list[str]]:
    """The statements that this thread sends to the database; clear it before what is to be counted."""
    sent: list[str] = []
    own_thread = threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if threading.get_ident() == own_thread and not statement.startswith(("PRAGMA", "BEGIN")):
            sent.append(statement)

    engine = app.extensions["database"].kw["bind"]
    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def factory(app: Flask) -> Factory:
    """Makes users and roles through the services."""
    return Factory(app)


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser that nobody has signed in with."""
    return Browser(app)


@pytest.fixture
def user(factory: Factory) -> Any:
    """A registered user."""
    return factory.user()


@pytest.fixture
def user_browser(factory: Factory, user: Any) -> Browser:
    """A browser that ``user`` is signed in with."""
    return factory.sign_in(user)


@pytest.fixture
def admin(factory: Factory) -> Any:
    """An administrator."""
    return factory.admin()


@pytest.fixture
def admin_browser(factory: Factory, admin: Any) -> Browser:
    """A browser that ``admin`` is signed in with."""
    return factory.sign_in(admin)
