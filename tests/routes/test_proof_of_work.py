"""Proofs of work: asked of whoever registers or asks for mails, where the settings say so."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import altcha
import pytest

from app.config import Settings
from app.environment import SettingsError
from app.extensions import limiter
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import PASSWORD, Browser
from tests.proofs import CHALLENGE, ON, REGISTER, assert_asked, register, solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.clock import Clock

pytestmark = pytest.mark.every_database

RESEND = "/api/v1/auth/email/verify/resend"
OTHER_KEY = "Zr4cJm0wQeXk9TnUq2aLh7VbYs5pDf1oGi8xRt3-KjE6yBvM"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(**ON)


def change(solution: str, **parameters: Any) -> str:
    """Return ``solution`` of a challenge with other ``parameters``."""
    payload = json.loads(base64.b64decode(solution))
    payload["challenge"]["parameters"] |= parameters
    return base64.b64encode(json.dumps(payload).encode()).decode()


def test_who_proves_the_work_is_let_in_and_once_only(app: Flask, browser: Browser) -> None:
    assert_asked(register(browser))
    solution = solve(browser)
    assert register(browser, solution).status_code == 201
    assert_asked(register(Browser(app), solution, name="bob"))
    assert register(Browser(app), solve(browser), name="bob").status_code == 201


def test_what_was_used_is_remembered_for_longer_than_it_could_be_used(app: Flask, browser: Browser) -> None:
    solution = solve(browser)
    assert register(browser, solution).status_code == 201
    subject = f"work:{altcha.Payload.from_base64(solution).challenge.parameters.nonce}"
    with app.app_context():
        # A minute longer than the ten: the clocks of two hosts may differ by that.
        assert limiter.inspector.show(subject) == [(subject, "proof-of-work-use-660", 1)]


def test_a_solution_written_in_another_way_is_no_other_solution(browser: Browser) -> None:
    solution = solve(browser)
    assert register(browser, solution).status_code == 201
    payload = json.loads(base64.b64decode(solution))
    payload["solution"]["time"] = 1.5
    payload["challenge"]["parameters"]["expiresAt"] = float(payload["challenge"]["parameters"]["expiresAt"])
    again = base64.b64encode(json.dumps(payload, indent=1).encode()).decode()
    assert_asked(register(browser, again, name="bob"))


def test_of_twenty_parallel_tries_with_one_solution_one_is_let_in(app: Flask) -> None:
    browsers = [Browser(app) for _ in range(20)]
    solution = solve(browsers[0])
    answers: list[int] = []
    start = threading.Barrier(len(browsers))

    def attempt(number: int) -> None:
        start.wait()
        answers.append(register(browsers[number], solution, name=f"ada{number}").status_code)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(len(browsers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == {201: 1, 403: 19}


def test_a_challenge_that_is_too_old_is_worth_nothing(clock: Clock, browser: Browser) -> None:
    solution = solve(browser)
    clock.advance(599)
    fresh = solve(browser)
    clock.advance(2)
    assert_asked(register(browser, solution))
    assert register(browser, fresh).status_code == 201


def test_challenges_of_another_instance_or_of_a_key_given_up_are_worth_nothing(
    make_app: Callable[..., Flask], browser: Browser
) -> None:
    foreign = make_app(**ON, SECRET_KEY=OTHER_KEY)
    solution = solve(Browser(foreign))
    assert_asked(register(browser, solution))
    heir = make_app(**ON, SECRET_KEY_FALLBACKS=OTHER_KEY)
    assert register(Browser(heir), solution).status_code == 201


@pytest.mark.parametrize(
    "parameters",
    [{"expiresAt": 4102444800}, {"keyPrefix": "00"}, {"cost": 1}, {"nonce": "0" * 32}, {"keySignature": None}],
)
def test_a_challenge_that_was_changed_is_worth_nothing(browser: Browser, parameters: dict[str, Any]) -> None:
    assert_asked(register(browser, change(solve(browser), **parameters)))


@pytest.mark.parametrize("derived_key", ["", "00" * 32, None, 7, ["00"], "no hex"])
def test_a_challenge_that_was_not_solved_is_worth_nothing(browser: Browser, derived_key: object) -> None:
    payload = json.loads(base64.b64decode(solve(browser)))
    payload["solution"]["derivedKey"] = derived_key
    assert_asked(register(browser, base64.b64encode(json.dumps(payload).encode()).decode()))


@pytest.mark.parametrize("value", ["null", "[]", "7", '"x"', "{}", '{"challenge": [], "solution": {}}', "[" * 900])
def test_what_is_no_solution_is_refused_and_not_an_error(browser: Browser, value: str) -> None:
    assert_asked(register(browser, base64.b64encode(value.encode()).decode()))
    assert_asked(register(browser, value))


@pytest.mark.parametrize("value", ["", "=", "é", "AAAA" * 1000])
def test_what_is_not_even_encoded_is_refused_and_not_an_error(browser: Browser, value: str) -> None:
    assert_asked(register(browser, value))


@pytest.mark.parametrize("value", [7, ["AAAA"], {"challenge": {}}, "A" * 4097])
def test_a_solution_is_one_text(browser: Browser, value: object) -> None:
    answer = register(browser, value)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["proof_of_work"])


def test_a_form_that_is_refused_for_its_fields_uses_no_solution_up(browser: Browser) -> None:
    solution = solve(browser)
    assert register(browser, solution, email="no address").status_code == 422
    assert register(browser, solution, password="short").get_json()["code"] == "weak_password"
    assert register(browser, solution).status_code == 201
    assert_asked(register(browser, solution, name="bob"))


def test_a_request_without_csrf_token_uses_no_solution_up(browser: Browser) -> None:
    solution = solve(browser)
    body = {"email": "ada@example.com", "password": PASSWORD, "proof_of_work": solution}
    refused = browser.client.post(REGISTER, json=body, base_url=browser.base_url)
    assert refused.get_json()["code"] == "csrf_failed"
    assert register(browser, solution).status_code == 201


def test_asking_for_mails_takes_a_proof_whoever_has_the_address(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(**ON, EMAIL_VERIFICATION="required"))
    for email in ("root@example.com", "nobody@example.com"):
        assert_asked(browser.post(RESEND, {"email": email}))
        assert browser.post(RESEND, {"email": email, "proof_of_work": solve(browser)}).status_code == 202
        assert_asked(register(browser, email=email))
        assert register(browser, solve(browser), email=email).status_code == 202


def test_every_call_that_takes_a_proof_asks_for_it_and_says_so(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(**ON, SIGN_IN_METHODS="password,mail_link,mail_code"))
    document = browser.get("/openapi.json").get_json()
    asking = []
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            if "proof_of_work" in schema["properties"]:
                asking.append(path)
                assert_asked(browser.post(path, schema["examples"][0]))
                assert "ProofOfWorkRequired" in methods["post"]["responses"]["403"]["$ref"]
    assert {REGISTER, RESEND, "/api/v1/auth/password/forgot"} <= set(asking)


def test_above_the_rate_a_proof_is_asked_for_and_nobody_is_refused(make_app: Callable[..., Flask]) -> None:
    app = make_app(**ON | {"PROOF_OF_WORK": "auto"}, RATELIMIT_PROOF_OF_WORK="3/hour")
    for number in range(3):
        assert register(Browser(app), name=f"ada{number}").status_code == 201
    browser = Browser(app)
    assert_asked(register(browser, name="bob"))
    for number in range(5):
        # All callers share the rate, however many paths there are.
        assert_asked(browser.post(RESEND, {"email": "ada@example.com"}))
        assert register(Browser(app), solve(browser), name=f"bob{number}").status_code == 201


def test_below_the_rate_a_solution_is_kept_for_later(make_app: Callable[..., Flask]) -> None:
    app = make_app(**ON | {"PROOF_OF_WORK": "auto"}, RATELIMIT_PROOF_OF_WORK="1/hour")
    browser = Browser(app)
    solution = solve(browser)
    assert register(browser, solution).status_code == 201
    assert register(Browser(app), solution, name="bob").status_code == 201
    assert_asked(register(Browser(app), solution, name="eve"))


def test_a_form_that_is_refused_for_its_fields_takes_nobodys_place(make_app: Callable[..., Flask]) -> None:
    app = make_app(**ON | {"PROOF_OF_WORK": "auto"}, RATELIMIT_PROOF_OF_WORK="1/hour")
    browser = Browser(app)
    for _ in range(3):
        assert register(browser, password="short").get_json()["code"] == "weak_password"
    assert register(browser).status_code == 201
    assert_asked(register(browser, name="bob"))


def test_off_asks_for_nothing_whatever_is_sent(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATELIMIT_ENABLED="true")
    for number, solution in enumerate((None, "", "nonsense")):
        assert register(Browser(app), solution, name=f"ada{number}").status_code == 201
    assert Browser(app).get(CHALLENGE).status_code == 200


@pytest.mark.no_database
def test_each_challenge_is_new_expires_and_costs_what_is_set(make_app: Callable[..., Flask], clock: Clock) -> None:
    browser = Browser(make_app(**ON | {"PROOF_OF_WORK_COST": "4"}, PROOF_OF_WORK_LIFETIME="60"))
    counters = set()
    for _ in range(40):
        challenge = altcha.Challenge.from_dict(browser.get(CHALLENGE).get_json())
        assert challenge.parameters.expires_at == int(clock.now().timestamp()) + 60
        found = altcha.solve_challenge(challenge)
        assert found is not None
        counters.add(found.counter)
    assert counters == {2, 3, 4, 5}


@pytest.mark.no_database
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_proofs_are_not_asked_for_where_nothing_would_remember_them(mode: str) -> None:
    with pytest.raises(SettingsError, match="PROOF_OF_WORK: expected off, because RATELIMIT_ENABLED is false"):
        Settings.from_environ(TEST_ENVIRON | {"PROOF_OF_WORK": mode})
