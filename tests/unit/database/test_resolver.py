from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from app.database.resolver import resolve

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Let the system's resolver do something else."""

    def set_answer(make: Callable[[], Any]) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: make())

    return set_answer


def test_an_address_is_its_own_answer() -> None:
    assert resolve("127.0.0.1", 1, within_seconds=1) == ("127.0.0.1",)
    assert resolve("::1", 1, within_seconds=1) == ("::1",)


def test_a_name_has_each_of_its_addresses_once(answer: Callable[..., None]) -> None:
    answer(lambda: [(0, 0, 0, "", (address, 5432)) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")])
    assert resolve("db", 5432, within_seconds=5) == ("10.0.0.1", "10.0.0.2")


def test_a_name_that_nobody_knows_is_an_error(answer: Callable[..., None]) -> None:
    def fail() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer(fail)
    with pytest.raises(socket.gaierror):
        resolve("db", 5432, within_seconds=5)


def test_a_resolver_that_hangs_keeps_nobody_waiting(answer: Callable[..., None]) -> None:
    may_end = threading.Event()
    answer(lambda: may_end.wait(30) and [])
    begun_at = time.monotonic()
    with pytest.raises(TimeoutError):
        resolve("db", 5432, within_seconds=0.05)
    assert time.monotonic() - begun_at < 5
    may_end.set()
