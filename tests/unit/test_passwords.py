"""What a password has to be, and how many are hashed at once."""

from __future__ import annotations

import sys
import threading
import time

import argon2
import pytest

from app.security import PASSWORD_MAX_LENGTH, PasswordHasher, PasswordPolicy, WeakPassword
from app.security import passwords as module
from app.security.passwords import HashingBusy

# Read before the tests' cheap hashing takes their place.
STRENGTH = {name: getattr(module, name) for name in ("MEMORY_KIB", "PASSES", "LANES")}
EASY = [
    "123456789012345",
    "012345678901234567890",
    "987654321098765",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb",
    "passwordpassword",
    "Password123456789",
    "P@ssw0rdP@ssw0rd!",
    "qwertyuiopasdfgh",
    "abcdefghijklmnopqrstuvwxyz",
    "aaaaaaaaaaaaaaaaaaaaaaaaa",
    "abcabcabcabcabcabc",
    "monkeymonkeymonkey",
    "Gatehouse-Gatehouse-2026",
    "drowssapdrowssap",
]
GOOD = ["turnip lantern gravel osprey", "kf7Wq9ZrT2mXb5L", "Wq9 zr2 tm5 xb8 lk4", "übergroße Straßenlaterne 漢字"]
EMAIL, NAME = "ada.lovelace.of.marylebone@mathematics.example.org", "Augusta Ada King"


@pytest.fixture(scope="module")
def policy() -> PasswordPolicy:
    """The default."""
    return PasswordPolicy(min_length=15)


def is_accepted(policy: PasswordPolicy, password: str, *about: str) -> bool:
    """Say whether the policy takes the password."""
    try:
        policy.check(password, about=about, field="password")
    except WeakPassword as error:
        refusal = error
    else:
        return True
    assert list(refusal.errors or ()) == ["password"]
    assert password not in repr(refusal.errors)
    return False


@pytest.mark.parametrize("password", EASY)
def test_what_everybody_tries_is_refused_however_long(policy: PasswordPolicy, password: str) -> None:
    assert len(password) >= policy.min_length
    assert not is_accepted(policy, password)


@pytest.mark.parametrize("password", GOOD)
def test_random_words_and_random_characters_are_accepted(policy: PasswordPolicy, password: str) -> None:
    assert is_accepted(policy, password, EMAIL, NAME)


@pytest.mark.parametrize(
    "password",
    [
        EMAIL,
        EMAIL.upper(),
        EMAIL + "!1",
        "lovelace-marylebone",
        "AugustaAdaKing1815",
        "Augusta Ada King Augusta Ada King",
        "king.lovelace@mathematics",
        "m4ryl3b0n3m4th3m4tic5",
        "enobelyramecalevol",
    ],
)
def test_the_own_name_and_address_count_for_nothing(policy: PasswordPolicy, password: str) -> None:
    assert not is_accepted(policy, password, EMAIL, NAME)


def test_an_address_full_of_digits_counts_for_nothing(policy: PasswordPolicy) -> None:
    assert not is_accepted(policy, "user1234567890@example.com", "user1234567890@example.com")


def test_a_good_password_may_hold_the_own_name_among_others(policy: PasswordPolicy) -> None:
    assert is_accepted(policy, "turnip Augusta lantern gravel osprey", EMAIL, NAME)


def test_the_length_is_counted_after_normalizing(policy: PasswordPolicy) -> None:
    assert not is_accepted(policy, "u\u0308o\u0308a\u0308" * 4 + "xy")  # 14 characters, written as 26


def test_nothing_is_taken_that_could_not_be_hashed(policy: PasswordPolicy) -> None:
    assert not is_accepted(policy, GOOD[0] + "\ud800")
    assert not is_accepted(policy, GOOD[0] * 20)
    assert is_accepted(policy, (GOOD[0] * 20)[:PASSWORD_MAX_LENGTH])


def test_a_password_for_an_account_with_a_second_factor_may_be_eight_long() -> None:
    assert is_accepted(PasswordPolicy(min_length=8), "kf7Wq9Zr")


def test_no_password_takes_long_to_estimate(policy: PasswordPolicy) -> None:
    started = time.process_time()
    for password in ("4@8({[<3691!|70$5+%2" * 12, "0123456789@([{<|!$%+" * 12, "a1!" * 80, "aB3$" * 64, "a" * 256):
        is_accepted(policy, password[:256], EMAIL, NAME)
    assert time.process_time() - started < 1


def test_of_many_who_choose_passwords_at_once_each_has_their_own_words_known(policy: PasswordPolicy) -> None:
    names = ["zarquonbeeblevroom", "quillanthrobustle", "morphindeskargle", "vellumtrascoquin"]
    accepted: list[bool] = []

    def choose(name: str) -> None:
        accepted.extend(is_accepted(policy, name[::-1], name) for _ in range(15))

    former = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=choose, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(former)
    assert accepted == [False] * 60


def test_an_invented_password_is_accepted(policy: PasswordPolicy) -> None:
    assert is_accepted(policy, policy.invent())
    assert policy.invent() != policy.invent()


# --- hashing ---


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> PasswordHasher:
    """Hashes as in production: two at once, one more may wait."""
    for name, value in STRENGTH.items():
        monkeypatch.setattr(module, name, value)
    return PasswordHasher(concurrency=2, capacity=3)


def test_hashing_is_argon2id_as_strong_as_owasp_asks_and_salted(hasher: PasswordHasher) -> None:
    first, second = hasher.hash(GOOD[0]), hasher.hash(GOOD[0])
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert hasher.verify(first, GOOD[0])
    assert not hasher.verify(first, GOOD[0] + "x")


def test_without_a_hash_the_answer_is_no_and_costs_the_same(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, calls = hasher.hash(GOOD[0]), []
    dummy = hasher._dummy_check

    def count(secret: bytes) -> bool:
        calls.append("dummy")
        return dummy(secret)

    monkeypatch.setattr(hasher, "_dummy_check", count)
    for nothing in (None, "", "!", "*disabled*"):
        assert not hasher.verify(nothing, "a password that nobody has")
    assert calls == ["dummy"] * 4
    assert not hasher.verify(stored, "wrong")
    assert calls == ["dummy"] * 4


def test_a_hash_with_former_parameters_is_renewed_and_a_current_one_is_not(hasher: PasswordHasher) -> None:
    former = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$Xh4yPGLnIDGc6zOJWm4pgDvEYNwnOsbYjn2qoxZlP2w"
    renewed = hasher.renew(former, GOOD[0])
    assert renewed is not None
    assert hasher.verify(renewed, GOOD[0])
    assert hasher.renew(renewed, GOOD[0]) is None
    assert hasher.renew(None, GOOD[0]) is None


def test_a_hash_of_another_library_with_the_same_parameters_is_a_current_one(hasher: PasswordHasher) -> None:
    other = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
    stored = other.hash(GOOD[0])
    assert hasher.verify(stored, GOOD[0])
    assert not hasher.verify(stored, GOOD[1])
    assert hasher.renew(stored, GOOD[0]) is None
    assert other.verify(hasher.hash(GOOD[0]), GOOD[0])


def test_no_more_hash_at_once_than_allowed(hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.01)
    with hasher._slot(), hasher._slot(), pytest.raises(HashingBusy) as refusal:
        hasher.hash("a third")
    assert (refusal.value.status, refusal.value.retry_after_seconds) == (503, 1)


def test_when_the_queue_is_full_the_next_is_refused_at_once(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_SECONDS", 10.0)
    outcomes: list[str] = []
    with hasher._slot(), hasher._slot():
        waiting = threading.Thread(target=lambda: outcomes.append(hasher.hash("a third, who waits")))
        waiting.start()
        while hasher._places._value:
            waiting.join(0.001)
        started = time.monotonic()
        with pytest.raises(HashingBusy):
            hasher.hash("a fourth")
        assert time.monotonic() - started < 5
    waiting.join(10)
    assert len(outcomes) == 1


def test_whoever_queues_too_long_is_refused_and_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(concurrency=1, capacity=2)
    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.0)
    for _ in range(5):
        with hasher._slot(), pytest.raises(HashingBusy):
            hasher.hash("x")
    assert hasher.hash("x").startswith("$argon2id$")


def test_places_are_given_back_when_hashing_fails(hasher: PasswordHasher) -> None:
    for _ in range(5):
        with pytest.raises(UnicodeEncodeError):
            hasher.hash("\ud800")
    assert hasher.hash("x")
