"""What administrators and operators see of the limits, by two processes that share a real store."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from app.ratelimit import parse_storage_uri
from app.ratelimit.engine import Engine
from app.ratelimit.plan import Charge, compile_plan
from app.ratelimit.redis import RedisServer as StoreServer
from app.ratelimit.redis.inspection import REFUSALS_TOLD_AT_ONCE
from gatehouse.testing.factories import Browser, Factory
from gatehouse.testing.servers.redis import RedisServer, find_free_port, running, wait_until
from tests.cli.conftest import Operator
from tests.servers.redis_clusters import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from app.ratelimit.redis.protocol import Reply

pytestmark = pytest.mark.server("redis")

LIMITS = "/api/v1/ratelimits"
NAMES = ["default", "login", "login-address", "register", "mail", "token", "proof-of-work"]
SETTINGS = {
    "RATELIMIT_ENABLED": "true",
    "RATELIMIT_LOGIN": "5/hour",
    "RATELIMIT_LOGIN_ADDRESS": "1000/hour",  # the cluster remembers what the tests before guessed
    "RATELIMIT_STORE_BUDGET_MS": "1000",
}


@pytest.fixture(scope="module")
def single() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def cluster_uri() -> Iterator[str]:
    with running_cluster() as cluster:
        yield cluster.uri


@pytest.fixture(params=["single", "cluster"])
def uri(request: pytest.FixtureRequest) -> str:
    if request.param == "cluster":
        address: str = request.getfixturevalue("cluster_uri")
        return address
    server: RedisServer = request.getfixturevalue("single")
    with server.client() as client:
        client.flushall()
    return f"redis://127.0.0.1:{server.port}/0"


def guess(browser: Browser, email: str) -> int:
    body = {"email": email, "password": "not the password at all"}
    return browser.post("/api/v1/auth/login", body).status_code


def wait_for_store(browser: Browser) -> None:
    """Return when the application decides in the store: before its first connection it decides by itself."""
    wait_until(lambda: browser.get("/readyz").get_json()["status"] == "ok" and browser.get(LIMITS).status_code < 500)


def test_readiness_tells_of_a_store_that_is_dead_though_no_decision_asked_it(make_app: Callable[..., Flask]) -> None:
    with running() as server:
        browser = Browser(make_app(**SETTINGS, RATELIMIT_STORAGE_URI=f"redis://127.0.0.1:{server.port}"))
        wait_until(lambda: browser.get("/readyz").get_json()["checks"]["ratelimit"] == "ok")
        server.kill()
        wait_until(lambda: browser.get("/readyz").get_json()["checks"]["ratelimit"] == "degraded")
        server.start()
        wait_until(lambda: browser.get("/readyz").get_json()["checks"]["ratelimit"] == "ok")


def test_readiness_tells_of_a_cluster_that_was_never_there(make_app: Callable[..., Flask]) -> None:
    uri = f"redis+cluster://127.0.0.1:{find_free_port()}"
    browser = Browser(make_app(**SETTINGS, RATELIMIT_STORAGE_URI=uri))
    wait_until(lambda: browser.get("/readyz").get_json()["checks"]["ratelimit"] == "degraded")


def test_one_process_shows_and_clears_what_all_counted_and_refused(make_app: Callable[..., Flask], uri: str) -> None:
    apps = [make_app(**SETTINGS, RATELIMIT_STORAGE_URI=uri) for _ in range(2)]
    factory = Factory(apps[0])
    user, admin = factory.user(), factory.sign_in(factory.admin())
    strangers = [Browser(app) for app in apps]
    for stranger in strangers:
        wait_for_store(stranger)
    statuses = [guess(strangers[number % 2], user.email) for number in range(9)]
    assert sorted(statuses) == [401] * 5 + [429] * 4
    with apps[1].app_context():
        apps[1].extensions["ratelimit"].engine.inspector.tell_refused()
    answer = admin.get(LIMITS).get_json()
    key = f"account:{user.email}"
    assert {"key": key, "limit": "login-3600", "units": 5} in answer["busiest"]
    assert {"key": key, "limit": "login-3600", "count": 4} in answer["refused"]

    operator = Operator(apps[1])
    shown = operator.do("ratelimit", "show", key.upper().replace("ACCOUNT", "account"))
    assert shown["counted"] == [{"key": key, "limit": "login-3600", "units": 5}]
    assert operator.run("ratelimit", "show", key).stdout.splitlines()[1].split() == [key, "login-3600", "5"]
    operator.do("ratelimit", "clear", key)
    assert operator.run("ratelimit", "show", key).stdout == f"Nothing is counted for {key}.\n"
    wait_until(lambda: guess(strangers[0], user.email) == 401)


def test_unlocking_clears_the_budgets_of_all_devices(make_app: Callable[..., Flask], uri: str) -> None:
    app = make_app(**SETTINGS, RATELIMIT_STORAGE_URI=uri)
    factory = Factory(app)
    user = factory.user()
    owner, stranger = factory.sign_in(user), Browser(app)
    wait_for_store(owner)
    for browser in (owner, stranger):
        assert [guess(browser, user.email) for _ in range(6)] == [401] * 5 + [429]
    admin = factory.sign_in(factory.admin())
    assert admin.post(f"/api/v1/users/{user.id}/unlock").status_code == 204
    assert [guess(browser, user.email) for browser in (owner, stranger)] == [401, 401]


def test_a_store_that_is_away_is_told_and_nothing_seems_cleared(make_app: Callable[..., Flask]) -> None:
    with running() as server:
        app = make_app(**SETTINGS, RATELIMIT_STORAGE_URI=f"redis://127.0.0.1:{server.port}/0")
        factory = Factory(app)
        user, admin = factory.user(), factory.sign_in(factory.admin())
        wait_for_store(admin)
        server.kill()
        answer = admin.get(LIMITS).get_json()
        assert (answer["degraded"], answer["busiest"], answer["refused"]) == (True, [], [])
        assert [item["name"] for item in answer["items"]] == NAMES

        def assert_away(response: Any) -> None:
            assert (response.status_code, response.get_json()["code"]) == (503, "ratelimit_store_away")
            assert response.headers["Retry-After"] == "1"

        assert_away(admin.post(f"/api/v1/users/{user.id}/unlock"))
        assert_away(admin.post(f"{LIMITS}/clear", {"key": "address:192.0.2.1"}))
        for verb in ("show", "clear"):
            assert "store is away" in Operator(app).fail("ratelimit", verb, "address:192.0.2.1")
        # The limits themselves are kept in the database.
        assert admin.patch(f"{LIMITS}/login", {"limits": "4/hour"}).status_code == 200


def test_refusals_wait_until_the_store_is_back(make_app: Callable[..., Flask]) -> None:
    with running() as server:
        app = make_app(**SETTINGS, RATELIMIT_STORAGE_URI=f"redis://127.0.0.1:{server.port}/0")
        factory = Factory(app)
        user, admin, stranger = factory.user(), factory.sign_in(factory.admin()), Browser(app)
        wait_for_store(admin)
        server.kill()
        assert [guess(stranger, user.email) for _ in range(8)] == [401] * 5 + [429] * 3
        server.start()
        wait_until(lambda: not admin.get(LIMITS).get_json()["degraded"])
        wait_until(
            lambda: (
                {"key": f"account:{user.email}", "limit": "login-3600", "count": 3}
                in admin.get(LIMITS).get_json()["refused"]
            )
        )


@pytest.fixture
def engine(single: RedisServer) -> Iterator[Engine]:
    with single.client() as client:
        client.flushall()
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{single.port}/0"), budget_ms=1000)
    charge = Charge(compile_plan("10/minute"), "address:192.0.2.1")
    wait_until(lambda: not engine.decide(charge).is_local)
    yield engine
    engine.close()


def test_many_refusals_are_told_in_portions_that_seem_no_outage(
    engine: Engine, single: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time() // 60)
    names = [f"address:192.0.{number // 250}.{number % 250}" for number in range(1000)]
    told = [(now - age, Counter({("login-60", name): 2 for name in names})) for age in range(15)]
    sizes: list[int] = []

    def call(store: StoreServer, payload: bytes, replies_count: int, **times: Any) -> list[Reply]:
        sizes.append(replies_count)
        return store.finish(store.start(payload, replies_count, **times))

    monkeypatch.setattr(StoreServer, "call", call)
    monkeypatch.setattr(engine.refused, "take_untold", lambda: told)
    engine.inspector.tell_refused()
    assert max(sizes) == REFUSALS_TOLD_AT_ONCE + 1
    with single.client() as client:
        assert {client.zcard(f"rl1:minute:{{refused}}:{minute}") for minute, _ in told} == {1000}
        assert client.zscore(f"rl1:minute:{{refused}}:{now}", "login-60 address:192.0.2.7") == 2


def test_two_who_tell_at_once_tell_a_refusal_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        engine.refused.add("login-60", f"address:192.0.2.{number}")

    def subtract_slowly(one: Counter[Any], other: Counter[Any]) -> Counter[Any]:
        difference = Counter({key: count - other[key] for key, count in one.items() if count > other[key]})
        time.sleep(0.05)
        return difference

    monkeypatch.setattr(Counter, "__sub__", subtract_slowly)
    threads = [threading.Thread(target=engine.inspector.tell_refused) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(engine.inspector.count_refused().values()) == 5
