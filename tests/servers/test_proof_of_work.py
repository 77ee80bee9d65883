"""Proofs of work where several processes share a store, and where it is away."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any

import altcha
import pytest

from gatehouse.testing.factories import PASSWORD, Browser
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.redis import RedisServer, running, wait_until
from tests.proofs import CHALLENGE, ON, REGISTER, assert_asked, register, solve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

pytestmark = pytest.mark.server("redis")

SHARED = ON | {"RATELIMIT_STORE_BUDGET_MS": "1000"}
AT_ONCE = 20


@pytest.fixture
def store() -> Iterator[RedisServer]:
    with running() as server:
        yield server


def wait_for_store(app: Flask, state: str = "ok") -> None:
    """Return when ``app`` decides in the store, or without it."""
    browser = Browser(app)
    wait_until(lambda: browser.get("/readyz").get_json()["checks"]["ratelimit"] == state)


def make_apps(make_app: Callable[..., Flask], store: RedisServer, **changes: str) -> list[Flask]:
    apps = [make_app(**SHARED | {"RATELIMIT_STORAGE_URI": store.url} | changes) for _ in range(2)]
    for app in apps:
        wait_for_store(app)
    return apps


class Client:
    """Calls a process over the network, with cookies of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Any:
        with self.opener.open(self.url + path) as answer:
            return json.load(answer)

    def register(self, name: str, solution: str) -> int:
        body = {"email": f"{name}@example.com", "password": PASSWORD, "proof_of_work": solution}
        headers = {"Content-Type": "application/json", "X-CSRF-Token": self.get("/api/v1/auth/csrf")["csrf_token"]}
        call = urllib.request.Request(self.url + REGISTER, json.dumps(body).encode(), headers)  # noqa: S310 - our server
        try:
            with self.opener.open(call) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def test_of_parallel_tries_at_two_processes_one_is_let_in(
    environ: dict[str, str], store: RedisServer, tmp_path: Path
) -> None:
    settings = SHARED | {"RATELIMIT_STORAGE_URI": store.url, "WORKERS": "2"}
    with Product(environ | settings, folder=tmp_path) as product:
        assert len(product.worker_pids) == 2
        client = Client(product.url)
        wait_until(lambda: client.get("/readyz")["checks"]["ratelimit"] == "ok")
        for round_ in range(3):
            challenge = altcha.Challenge.from_dict(client.get(CHALLENGE))
            found = altcha.solve_challenge(challenge)
            assert found is not None
            solution = altcha.Payload(challenge, found).to_base64()
            answers: list[int] = []
            start = threading.Barrier(AT_ONCE)

            def attempt(name: str, solution: str = solution, start: Any = start, answers: Any = answers) -> None:
                start.wait()
                answers.append(Client(product.url).register(name, solution))

            threads = [threading.Thread(target=attempt, args=(f"ada{round_}-{n}",)) for n in range(AT_ONCE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert Counter(answers) == {201: 1, 403: AT_ONCE - 1}


def test_processes_share_the_rate_above_which_proofs_are_asked_for(
    make_app: Callable[..., Flask], store: RedisServer
) -> None:
    apps = make_apps(make_app, store, PROOF_OF_WORK="auto", RATELIMIT_PROOF_OF_WORK="4/hour")
    answers = [register(Browser(apps[number % 2]), name=f"ada{number}").status_code for number in range(6)]
    assert answers == [201] * 4 + [403] * 2
    for app in apps:
        browser = Browser(app)
        assert register(browser, solve(browser), name=f"bob{id(app)}").status_code == 201


@pytest.mark.parametrize("fallback", ["local", "allow"])
def test_while_the_store_is_away_a_solution_works_once_in_each_process(
    make_app: Callable[..., Flask], store: RedisServer, fallback: str
) -> None:
    apps = make_apps(make_app, store, RATELIMIT_FALLBACK=fallback, WORKERS="4")
    store.kill()
    for app in apps:
        wait_for_store(app, "degraded")
    assert_asked(register(Browser(apps[0])))
    solution = solve(Browser(apps[0]))
    assert [register(Browser(app), solution, name=f"ada{id(app)}").status_code for app in apps] == [201, 201]
    for app in apps:
        assert_asked(register(Browser(app), solution, name="bob"))


def test_above_the_rate_a_store_that_is_away_neither_opens_the_gate_nor_keeps_anybody_out(
    make_app: Callable[..., Flask], store: RedisServer
) -> None:
    app, _ = make_apps(make_app, store, PROOF_OF_WORK="auto", RATELIMIT_PROOF_OF_WORK="2/hour")
    store.kill()
    wait_for_store(app, "degraded")
    assert [register(Browser(app), name=f"ada{number}").status_code for number in range(3)] == [201, 201, 403]
    browser = Browser(app)
    assert register(browser, solve(browser), name="bob").status_code == 201


def test_what_was_used_before_or_during_an_outage_is_not_taken_again_by_a_store_that_comes_back_empty(
    make_app: Callable[..., Flask], store: RedisServer
) -> None:
    app, other = make_apps(make_app, store)
    browser = Browser(app)
    before, during, unused = (solve(browser) for _ in range(3))
    assert register(Browser(app), before, name="ada").status_code == 201
    store.kill()
    wait_for_store(app, "degraded")
    assert_asked(register(Browser(app), before, name="eve"))
    assert register(Browser(app), during, name="bob").status_code == 201
    store.start()
    for each in (app, other):
        wait_for_store(each)
    for solution in (before, during):
        assert_asked(register(Browser(app), solution, name="eve"))
    assert register(Browser(other), unused, name="cleo").status_code == 201
    assert_asked(register(Browser(app), unused, name="eve"))
