"""How the limiter decides about the requests of an application, on the memory store."""

from __future__ import annotations

import queue
import threading
import time

import pytest
from flask import Blueprint, request

from app.ratelimit import (
    By,
    LimitError,
    OutcomeOpen,
    exempt,
    rate_limit,
)
from app.ratelimit.request_limiter import WAIT_SECONDS
from gatehouse.testing.servers.ports import find_free_port
from tests.unit.ratelimit.shop import account, ask, make_app


def test_a_limited_route_tells_its_limits_on_every_answer() -> None:
    app, _ = make_app()

    @app.get("/")
    @rate_limit("2/minute;50/hour")
    def home() -> str:
        return "home"

    answer = app.test_client().get("/")
    assert answer.headers["RateLimit-Policy"] == '"home-60";q=2;w=60, "home-3600";q=50;w=3600'
    assert answer.headers["RateLimit"] == '"home-60";r=1;t=60, "home-3600";r=49;t=3600'
    assert "Retry-After" not in answer.headers


def test_a_refusal_is_a_429_that_says_when_to_come_back() -> None:
    app, _ = make_app()

    @app.post("/")
    @rate_limit("2/minute")
    def home() -> str:
        return "home"

    client = app.test_client()
    assert ask(client, "/", 2) == [200, 200]
    answer = client.post("/")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == str(answer.get_json()["retry"])
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["RateLimit"].startswith('"home-60";r=0;t=')


def test_failures_count_and_successes_are_given_back() -> None:
    app, limiter = make_app()

    @app.post("/login")
    @rate_limit("RATELIMIT_LOGIN", by=account, failures_only=True)
    def login() -> tuple[str, int]:
        return "", 200 if request.get_json()["password"] == "right" else 401

    client = app.test_client()
    right = {"email": "a@example.com", "password": "right"}
    wrong = {"email": "a@example.com", "password": "wrong"}
    assert ask(client, "/login", 10, json=right) == [200] * 10
    assert ask(client, "/login", 4, json=wrong) == [401, 401, 401, 429]
    assert ask(client, "/login", 1, json=right) == [429]
    assert ask(client, "/login", 1, json={**wrong, "email": "b@example.com"}) == [401]
    with app.app_context():
        assert limiter.inspector.show("account:a@example.com") == [("account:a@example.com", "login-60", 3)]
        assert limiter.inspector.clear("account:a@example.com")
    assert ask(client, "/login", 1, json=right) == [200]


def test_any_answer_from_400_on_is_a_failure_where_no_error_is_named() -> None:
    app, limiter = make_app(login="9/minute")

    @app.post("/login/<int:status>")
    @rate_limit("RATELIMIT_LOGIN", failures_only=True)
    def login(status: int) -> tuple[str, int]:
        return "", status

    client = app.test_client()
    assert [client.post(f"/login/{status}").status_code for status in (200, 302, 399, 400, 404, 500)]
    with app.app_context():
        assert limiter.inspector.show("address:127.0.0.1") == [("address:127.0.0.1", "login-60", 3)]


def test_a_function_that_names_no_limits_frees_and_one_that_names_nonsense_leaves_the_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _ = make_app(default="2/minute")

    @app.post("/<path:limits>")
    @exempt
    @rate_limit(lambda: request.args["limits"])
    def view(limits: str) -> str:
        return limits

    client = app.test_client()
    assert ask(client, "/a?limits=", 5) == [200] * 5
    assert ask(client, "/a?limits=often", 4) == [200, 200, 429, 429]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_lasting_limit_refuses_at_once_whatever_is_open_beside_it() -> None:
    app, _ = make_app()
    entered, may_end = threading.Semaphore(0), threading.Event()

    @app.post("/")
    @rate_limit("2/minute")
    @rate_limit("RATELIMIT_LOGIN", failures_only=True)
    def view() -> str:
        entered.release()
        assert may_end.wait(20)
        return ""

    threads = [threading.Thread(target=app.test_client().post, args=("/",)) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert entered.acquire(timeout=20)
    started = time.monotonic()
    assert app.test_client().post("/").status_code == 429
    assert time.monotonic() - started < 1
    may_end.set()
    for thread in threads:
        thread.join()


def test_only_so_many_wait_for_the_outcome_of_others_and_the_rest_is_told_at_once() -> None:
    app, _ = make_app(login="1/minute", most_waiting=1)
    entered, may_end = threading.Event(), threading.Event()

    @app.errorhandler(OutcomeOpen)
    def tell(error: OutcomeOpen) -> tuple[str, int]:
        return error.code, error.status

    @app.post("/")
    @rate_limit("RATELIMIT_LOGIN", failures_only=True)
    def view() -> str:
        entered.set()
        assert may_end.wait(20)
        return ""

    answers: queue.SimpleQueue[int] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=lambda: answers.put(app.test_client().post("/").status_code), daemon=True)
        for _ in range(4)
    ]
    threads[0].start()
    assert entered.wait(20)
    started = time.monotonic()
    for thread in threads[1:]:
        thread.start()
    assert [answers.get(timeout=20) for _ in range(2)] == [503] * 2
    assert time.monotonic() - started < WAIT_SECONDS / 2
    may_end.set()
    for thread in threads:
        thread.join()
    assert [answers.get() for _ in range(2)] == [200] * 2


def test_limits_that_a_function_makes_up_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ratelimit.rules.PLANS_MAX", 3)
    app, limiter = make_app()

    @app.post("/<int:amount>")
    @rate_limit(lambda: f"{(request.view_args or {})['amount']}/minute")
    def view(amount: int) -> str:
        return str(amount)

    client = app.test_client()
    assert [client.post(f"/{amount}").status_code for amount in range(10, 30)] == [200] * 20
    with app.app_context():
        assert limiter.policy is not None
        assert len(limiter.policy._plans) <= 3


def test_a_rule_that_allows_all_in_an_outage_stands_beside_one_that_refuses() -> None:
    app, limiter = make_app(storage=f"redis://127.0.0.1:{find_free_port()}")

    @app.post("/")
    @rate_limit("1/minute")
    @rate_limit("RATELIMIT_LOGIN", failures_only=True, fallback="allow")
    def view() -> str:
        return ""

    assert ask(app.test_client(), "/", 3) == [200, 429, 429]
    with app.app_context():
        assert limiter.engine is not None
        limiter.engine.close()


def test_two_ways_to_find_one_subject_share_its_counters() -> None:
    app, limiter = make_app(login="2/minute")

    @app.post("/header")
    @rate_limit("RATELIMIT_LOGIN", by=By("account", lambda: request.headers.get("Email", "")))
    def header() -> str:
        return ""

    @app.post("/body")
    @rate_limit("RATELIMIT_LOGIN", by=account)
    def body() -> str:
        return ""

    client = app.test_client()
    assert ask(client, "/header", 1, headers={"Email": "a@b.c"}) == [200]
    assert ask(client, "/body", 2, json={"email": "a@b.c"}) == [200, 429]
    with app.app_context():
        assert limiter.inspector.show("account:a@b.c") == [("account:a@b.c", "login-60", 2)]


@pytest.mark.parametrize("kind", ["", "account:a", "Account", "a b", "<lambda>"])
def test_the_kind_of_a_subject_is_a_plain_word(kind: str) -> None:
    with pytest.raises(LimitError, match="whom a limit counts"):
        By(kind, lambda: "")


def test_several_subjects_are_decided_all_or_nothing() -> None:
    app, limiter = make_app(login="2/minute")

    @app.post("/login")
    @rate_limit("RATELIMIT_LOGIN", by=account)
    @rate_limit("100/minute", scope="login-address")
    def login() -> str:
        return ""

    client = app.test_client()
    assert ask(client, "/login", 5, json={"email": "a"}) == [200, 200, 429, 429, 429]
    with app.app_context():
        assert limiter.inspector.show("address:127.0.0.1") == [("address:127.0.0.1", "login-address-60", 2)]


def test_the_default_holds_for_the_rest_and_not_for_the_exempt() -> None:
    app, _ = make_app(default="2/minute")
    blueprint = Blueprint("free", __name__)

    @app.post("/limited")
    def limited() -> str:
        return ""

    @app.post("/exempt")
    @exempt
    def free() -> str:
        return ""

    @blueprint.post("/blue")
    def blue() -> str:
        return ""

    app.register_blueprint(exempt(blueprint))
    client = app.test_client()
    assert ask(client, "/limited", 3) == [200, 200, 429]
    assert ask(client, "/exempt", 3) == ask(client, "/blue", 3) == [200] * 3
    assert ask(client, "/nowhere", 1) == [429]


def test_a_blueprint_can_be_limited_as_a_whole() -> None:
    app, _ = make_app()
    blueprint = Blueprint("shop", __name__)
    blueprint.post("/a", endpoint="a")(lambda: "")
    blueprint.post("/b", endpoint="b")(lambda: "")
    app.register_blueprint(rate_limit("2/minute", scope="shop")(blueprint))
    client = app.test_client()
    assert [*ask(client, "/a", 1), *ask(client, "/b", 2)] == [200, 200, 429]


def test_cost_condition_and_a_function_for_limits() -> None:
    app, _ = make_app()

    @app.post("/")
    @rate_limit(
        lambda: request.args.get("limits", "4/minute"),
        cost=lambda: int(request.args.get("cost", "1")),
        when=lambda: "free" not in request.args,
    )
    def home() -> str:
        return ""

    client = app.test_client()
    assert ask(client, "/?cost=3", 2) == [200, 429]
    assert ask(client, "/?free=1", 5) == [200] * 5
    assert ask(client, "/", 2) == [200, 429]
    # A more generous limit, such as another role's, finds what was counted under the other.
    assert ask(client, "/?limits=5/minute", 2) == [200, 429]


def test_a_shadow_rule_counts_and_never_refuses() -> None:
    app, limiter = make_app()

    @app.post("/")
    @rate_limit("1/minute", shadow=True)
    def home() -> str:
        return ""

    assert ask(app.test_client(), "/", 3) == [200] * 3
    with app.app_context():
        assert limiter.engine is not None
        assert limiter.engine.refused.count() == {("home-60", "address:127.0.0.1"): 2}


def test_who_is_refused_too_often_is_refused_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ratelimit.refusals.CERTAIN_SECONDS_MAX", 0.0)
    app, limiter = make_app()

    @app.post("/")
    @rate_limit("1/second", block="3/hour")
    def home() -> str:
        return ""

    client = app.test_client()
    assert ask(client, "/", 5) == [200, 429, 429, 429, 429]
    answer = client.post("/")
    assert int(answer.headers["Retry-After"]) > 3500
    assert "block" not in answer.headers["RateLimit-Policy"]
    with app.app_context():
        assert limiter.inspector.clear("address:127.0.0.1")
    assert ask(client, "/", 1) == [200]
