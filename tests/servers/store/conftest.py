"""A Redis of each test's own, and an engine that decides by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.ratelimit import Engine, parse_storage_uri
from gatehouse.testing.servers.redis import RedisServer, running, wait_until
from tests.servers.store.asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as one:
        yield one


@pytest.fixture
def engine(server: RedisServer) -> Iterator[Engine]:
    one = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"))
    wait_until(lambda: not ask(one).is_local)
    yield one
    one.close()
