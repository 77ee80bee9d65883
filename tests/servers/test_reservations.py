"""What becomes of guesses whose outcome is still open, on every kind of store."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from app.ratelimit import Charge, Engine, compile_plan, parse_limits, parse_storage_uri
from app.ratelimit.plan import PRECISION_DEFAULT
from app.ratelimit.rules import By, NamedLimits, Policy, Rule
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.servers.redis import RedisServer, find_free_port, running, wait_until
from tests.servers.redis_clusters import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from app.ratelimit import Decision

pytestmark = pytest.mark.server("redis")

STORES = ("memory", "single", "cluster", "away")
AMOUNT = 3
LOGIN = "/api/v1/auth/login"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as one:
        yield one


@pytest.fixture(scope="module")
def cluster_uri() -> Iterator[str]:
    with running_cluster() as cluster:
        yield cluster.uri


@pytest.fixture(params=STORES)
def uri(request: pytest.FixtureRequest) -> str:
    if request.param == "single":
        server: RedisServer = request.getfixturevalue("server")
        return f"redis://127.0.0.1:{server.port}"
    if request.param == "cluster":
        cluster_uri: str = request.getfixturevalue("cluster_uri")
        return cluster_uri
    return "memory://" if request.param == "memory" else f"redis://127.0.0.1:{find_free_port()}"


def make_charges(subject: str) -> list[Charge]:
    """Return what a guess at ``subject`` is charged, as the rules make it."""
    policy = Policy({"login": NamedLimits(parse_limits(f"{AMOUNT}/hour"))}, precision=PRECISION_DEFAULT)
    rule = Rule("RATELIMIT_LOGIN", (By("account", lambda: subject),), failures_only=True)
    return policy.make_charges(policy.prepare(rule, "login"), lambda: None)


@pytest.fixture
def guess(uri: str, request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Callable[[], Decision]]]:
    engine = Engine(parse_storage_uri(uri), budget_ms=1000)
    is_away = request.node.callspec.params["uri"] == "away"
    wait_until(lambda: uri == "memory://" or engine.decide(*make_charges(uuid.uuid4().hex)).is_local is is_away)
    charges = make_charges(uuid.uuid4().hex)
    yield engine, lambda: engine.decide(*charges)
    engine.close()


def test_only_the_confirmed_failures_refuse_for_good(guess: tuple[Engine, Callable[[], Decision]]) -> None:
    engine, decide = guess
    first, second, third = decide(), decide(), decide()
    assert all(one.is_admitted for one in (first, second, third))
    assert decide().is_pending
    engine.settle(first, is_failure=True)
    engine.settle(second, is_failure=False)
    fourth = decide()
    assert fourth.is_admitted
    assert decide().is_pending
    engine.settle(third, is_failure=True)
    assert decide().is_pending
    engine.settle(fourth, is_failure=True)
    for _ in range(2):  # the second time from the memory of refusals
        refused = decide()
        assert not refused.is_admitted
        assert not refused.is_pending


def test_what_a_lasting_limit_refuses_is_refused_for_good_whatever_is_open_beside_it(
    guess: tuple[Engine, Callable[[], Decision]],
) -> None:
    engine, _decide = guess
    # Several subjects, so that a cluster decides on several servers.
    opened = [make_charges(uuid.uuid4().hex) for _ in range(4)]
    assert all(engine.decide(*charges).is_admitted for charges in opened for _ in range(AMOUNT))
    used_up = Charge(compile_plan("1/hour", scope="lasting"), uuid.uuid4().hex)
    assert engine.decide(used_up).is_admitted
    for charges in opened:
        assert engine.decide(*charges).is_pending
        assert not engine.decide(*charges, used_up).is_pending


@pytest.fixture
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ratelimit.rules.RESERVATION_SECONDS", 1)


@pytest.mark.usefixtures("_brief")
def test_who_never_tells_the_outcome_keeps_it_open_for_seconds_only(
    guess: tuple[Engine, Callable[[], Decision]],
) -> None:
    _engine, decide = guess
    assert all(decide().is_admitted for _ in range(AMOUNT))
    assert decide().is_pending
    wait_until(lambda: not decide().is_pending, seconds=5, what="the end of what a dead process reserved")
    assert not decide().is_admitted


def test_what_is_open_is_known_although_the_store_forgot_it() -> None:
    with running() as server:
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"), budget_ms=1000)
        warm, charges = make_charges("warm"), make_charges("someone")
        wait_until(lambda: not engine.decide(*warm).is_local)
        opened = [engine.decide(*charges) for _ in range(AMOUNT)]
        assert all(one.is_admitted for one in opened)
        server.kill()
        wait_until(lambda: engine.decide(*warm).is_local)
        server.start()
        wait_until(lambda: not engine.is_degraded)
        wait_until(lambda: not engine.decide(*make_charges(uuid.uuid4().hex)).is_local)
        assert engine.decide(*charges).is_pending
        engine.settle(opened[0], is_failure=False)
        assert engine.decide(*charges).is_admitted
        engine.close()


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize(("password", "times", "outcome"), [("not it at all", 101, 401), (PASSWORD, 20, 200)])
def test_of_many_guesses_at_once_as_many_are_checked_as_may_fail(
    make_app: Callable[..., Flask], uri: str, password: str, times: int, outcome: int
) -> None:
    app = make_app(
        RATELIMIT_ENABLED="true",
        RATELIMIT_STORAGE_URI=uri,
        RATELIMIT_LOGIN="10/hour",
        RATELIMIT_LOGIN_ADDRESS="100000/hour",
        RATELIMIT_STORE_BUDGET_MS="1000",
    )
    email = f"{uuid.uuid4().hex}@example.com"
    Factory(app).user(email=email)
    pairs = [(browser, browser.csrf_token()) for browser in (Browser(app) for _ in range(times))]
    barrier = threading.Barrier(times)
    statuses: Counter[int] = Counter()

    def run(browser: Browser, token: str) -> None:
        barrier.wait()
        body = {"email": email, "password": password}
        answer = browser.client.post(LOGIN, json=body, headers={"X-CSRF-Token": token}, base_url=browser.base_url)
        statuses[answer.status_code] += 1

    threads = [threading.Thread(target=run, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Those that a busy moment answered with 503 were not checked, so as many are left to whoever comes next.
    assert statuses.keys() <= ({200, 503} if outcome == 200 else {401, 429, 503})
    left = 10 - statuses[401]
    wrong = {"email": email, "password": "nor is this"}
    assert [Browser(app).post(LOGIN, wrong).status_code for _ in range(left + 1)] == [401] * left + [429]
