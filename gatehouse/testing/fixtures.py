"""What every test can ask for: settings, an application on a migrated database of its own, and browsers."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from app import clock as product_clock
from app import create_app, secret_keys
from app.config import Settings
from app.extensions import limiter
from app.guesses import estimate_guesses
from app.security import passwords

from .clock import Clock
from .databases import TEST_ENVIRON, make_databases
from .factories import Browser, Factory
from .mailbox import Mailbox
from .queries import count_queries
from .rules import list_faults
from .servers.product import Product
from .servers.redis import RedisServer, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flask import Flask

    from app.extending import Extension

    from .databases import Databases
    from .rows import Values


@pytest.fixture(scope="session")
def running_databases() -> Iterator[dict[str, Databases]]:
    """What was started for the tests of this process, by its kind."""
    running: dict[str, Databases] = {}
    yield running
    for databases in running.values():
        databases.close()


@pytest.fixture(scope="module")
def database_kind(request: pytest.FixtureRequest) -> str:
    """The kind of database that the test runs on."""
    return getattr(request, "param", "sqlite")


@pytest.fixture(scope="module")
def databases(
    database_kind: str, running_databases: dict[str, Databases], tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """Where the test's databases come from."""
    if database_kind not in running_databases:
        running_databases[database_kind] = make_databases(database_kind, tmp_path_factory.mktemp("databases"))
    return running_databases[database_kind]


@pytest.fixture(scope="session")
def extensions(pytestconfig: pytest.Config) -> Sequence[Extension]:
    """The extensions that the tests' applications have: those that pytest's ini names, or what you override it with."""
    return [importlib.import_module(name).extension for name in pytestconfig.getini("gatehouse_extensions")]


@pytest.fixture
def make_database(databases: Databases, extensions: Sequence[Extension]) -> Iterator[Callable[..., str]]:
    """Make one more database, ``is_migrated`` or empty, and return its URL."""
    urls: list[str] = []

    def make(*, is_migrated: bool = True) -> str:
        urls.append(databases.take(extensions, is_migrated=is_migrated))
        return urls[-1]

    yield make
    for url in urls:
        databases.put_back(url)


@pytest.fixture
def environ(
    request: pytest.FixtureRequest, make_database: Callable[..., str], tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The environment of the test's application; change it before asking for ``app``, or use ``make_app``."""
    mail = {"MAIL_URL": f"file:{tmp_path / 'mail'}"}
    if not request.node.get_closest_marker("no_database"):
        yield TEST_ENVIRON | mail | {"DATABASE_URL": make_database()}
        return
    path = tmp_path / "untouched.db"
    yield TEST_ENVIRON | mail | {"DATABASE_URL": f"sqlite:///{path}"}
    assert not path.exists(), "a test that is marked no_database has used one"


@pytest.fixture(scope="session", autouse=True)
def cheap_hashing() -> Iterator[None]:
    """Hash cheaply: the passwords of tests need no protection, and hashing them well would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "MEMORY_KIB", 8)
        patch.setattr(passwords, "PASSES", 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def known_keys() -> Iterator[None]:
    """Estimate each secret key once: every application has the same, and the estimate takes a tenth of making one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secret_keys, "estimate_guesses", cache(estimate_guesses))
        yield


def close(app: Flask) -> None:
    """Close the connections of ``app``, and end the threads that look after them: later tests are not theirs."""
    app.extensions["database"].kw["bind"].dispose()
    with app.app_context():
        if limiter.engine is not None:
            limiter.engine.close()


@pytest.fixture(scope="module")
def make_shared_app(databases: Databases, extensions: Sequence[Extension]) -> Iterator[Callable[..., Flask]]:
    """Make an application, and a database, that all tests of a module share."""
    apps: dict[str, Flask] = {}

    def make(**changes: str) -> Flask:
        url = databases.take(extensions)
        settings = Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url} | changes)
        apps[url] = create_app(settings, extensions)
        return apps[url]

    yield make
    for url, app in apps.items():
        close(app)
        databases.put_back(url)


@pytest.fixture
def make_app(environ: dict[str, str], extensions: Sequence[Extension]) -> Iterator[Callable[..., Flask]]:
    """Make an application with other settings: ``make_app(REGISTRATION="closed")``."""
    apps: list[Flask] = []

    def make(**changes: str) -> Flask:
        apps.append(create_app(Settings.from_environ(environ | changes), extensions))
        return apps[-1]

    yield make
    for app in apps:
        close(app)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application, with rate limits off."""
    return make_app()


@pytest.fixture
def mailbox(app: Flask, tmp_path: Path) -> Mailbox:
    """The mails that ``app`` sends: ``deliver`` them, then ``read`` them."""
    return Mailbox(app, tmp_path / "mail")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The application's clock, which the test turns."""
    clock = Clock()
    monkeypatch.setattr(product_clock, "clock", clock)
    return clock


@pytest.fixture
def statements(app: Flask) -> Iterator[list[str]]:
    """The statements that this thread sends to the database; clear it before what is to be counted."""
    with count_queries(app.extensions["database"].kw["bind"]) as sent:
        yield sent


@pytest.fixture
def assert_queries(statements: list[str]) -> Callable[[int], AbstractContextManager[None]]:
    """Makes sure how many queries are sent in a block that begins ``with`` it and their number."""

    @contextmanager
    def count(number: int) -> Iterator[None]:
        first = len(statements)
        yield
        sent = statements[first:]
        assert len(sent) == number, f"queries expected: {number}, sent: {len(sent)}\n" + "\n".join(sent)

    return count


@pytest.fixture
def limiter_store() -> Iterator[RedisServer]:
    """A Redis for ``make_app(RATELIMIT_ENABLED="true", RATELIMIT_STORAGE_URI=limiter_store.url)``; ``kill`` it."""
    with running() as server:
        yield server


@pytest.fixture
def live_server(environ: dict[str, str], extensions: Sequence[Extension], tmp_path: Path) -> Iterator[Product]:
    """The product as a process of its own, on the database of ``app``; ``live_server.url`` is where it serves."""
    named = {
        "APP_EXTENSIONS": ",".join(extension.name for extension in extensions),
        # The extensions are found where the tests find them.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with Product(environ | named, folder=tmp_path) as product:
        yield product


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


class AssertExtension(Protocol):
    """Makes sure that an extension keeps the house's rules."""

    def __call__(self, extension: Extension, *, values: Values = MappingProxyType({})) -> None:
        """Hold ``extension`` to the rules; ``values`` are for columns whose types do not tell what they may hold."""


@pytest.fixture
def assert_extension(databases: Databases) -> Iterator[AssertExtension]:
    """Makes sure that an extension keeps the house's rules; a test that asks for it runs on every database."""
    taken: list[tuple[Flask, str]] = []

    def serve(extension: Extension, *, is_migrated: bool) -> Flask:
        url = databases.take([extension], is_migrated=is_migrated)
        taken.append((create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}), [extension]), url))
        return taken[-1][0]

    def hold(extension: Extension, *, values: Values = MappingProxyType({})) -> None:
        __tracebackhide__ = True
        faults = list(dict.fromkeys(list_faults(extension, partial(serve, extension), values)))
        if faults:
            told = "\n".join(f"- {fault}" for fault in faults)
            pytest.fail(f"{extension.name} does not keep {len(faults)} of the rules:\n{told}", pytrace=False)

    yield hold
    for app, url in taken:
        close(app)
        databases.put_back(url)
