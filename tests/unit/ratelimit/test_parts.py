"""The small parts: the wire's replies, what the store has not heard of, refusals, the commands."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ratelimit import Charge, compile_plan
from app.ratelimit.decision import Decision, Part, Refusal
from app.ratelimit.redis import scripts
from app.ratelimit.redis.protocol import ConnectionFailed, ReplyError, pack_command, parse_replies
from app.ratelimit.refusals import NAMES_MAX, RefusalCache, RefusalTally
from app.ratelimit.store import StoreUnavailable
from app.ratelimit.unsynced import ENTRIES_MAX, SUBJECTS_MAX, UnsyncedCharges

PLAN = compile_plan("5/minute;50/hour")


def test_replies_of_every_kind() -> None:
    data = b"+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n-MOVED 5 h:1\r\n"
    replies = parse_replies(data, 5)
    assert replies is not None
    assert replies[:4] == [b"OK", -7, b"a\r\n", None]
    assert isinstance(replies[4], ReplyError)
    assert (replies[4].code, replies[4].detail) == ("MOVED", "5 h:1")


@given(st.lists(st.binary(max_size=20), max_size=4), st.integers(0, 200))
def test_replies_that_came_in_part_are_waited_for(values: list[bytes], cut: int) -> None:
    data = b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for value in values)
    assert parse_replies(data, len(values)) == values
    if cut < len(data):
        assert parse_replies(data[:cut], len(values)) is None


def test_who_does_not_speak_the_protocol_is_left() -> None:
    with pytest.raises(ConnectionFailed):
        parse_replies(b"HTTP/1.1 400 Bad Request\r\n", 1)
    with pytest.raises(StoreUnavailable):
        scripts.read_values(b"short")
    with pytest.raises(StoreUnavailable):
        scripts.read_values(7)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 200))
def test_the_ready_made_command_is_the_plain_one(first: str, second: str, cost: int) -> None:
    charges = [Charge(PLAN, first, cost), Charge(compile_plan("9/day", scope="100%"), second, cost)]
    for some in (charges[:1], charges):
        keys = [key.encode() for charge in some for key in charge.plan.name_keys(charge.subject)]
        spec = b"".join(charge.plan.spec(charge.cost) for charge in some)
        plain = pack_command(b"EVALSHA", scripts.DECIDE.sha, b"%d" % len(keys), *keys, spec)
        assert scripts.pack_decide(some) == plain


def test_what_the_store_has_not_heard_of_is_bounded_and_counts_longer_rather_than_shorter() -> None:
    unsynced = UnsyncedCharges()
    for number in range(ENTRIES_MAX * 2):
        unsynced.add(Charge(PLAN, "one"), number)
    entries = unsynced.take("one")
    assert len(entries) == ENTRIES_MAX
    assert sum(charge.cost for charge, _ in entries) == ENTRIES_MAX * 2
    assert entries[0][1] >= ENTRIES_MAX // 2
    for number in range(SUBJECTS_MAX + 5):
        unsynced.add(Charge(PLAN, f"s{number}"), 0)
    assert len(unsynced) == SUBJECTS_MAX


def test_what_was_given_back_or_handed_over_is_handed_over_no_more() -> None:
    unsynced = UnsyncedCharges()
    charge = Charge(PLAN, "one")
    unsynced.add(charge, 5)
    assert unsynced.remove(charge, 5)
    assert not unsynced.remove(charge, 5)
    assert not unsynced
    unsynced.add(charge, 6)
    taken = unsynced.take("one")
    unsynced.add(charge, 7)
    unsynced.restore(taken)
    assert [at_us for _, at_us in unsynced.take("one")] == [6, 7]


def test_what_could_not_be_handed_over_keeps_its_order() -> None:
    unsynced = UnsyncedCharges()
    for at_us in (5, 6, 7):
        unsynced.add(Charge(PLAN, "one"), at_us)
    unsynced.restore(unsynced.take("one"))
    assert [at_us for _, at_us in unsynced.take("one")] == [5, 6, 7]


def test_charges_of_different_limits_are_never_made_one() -> None:
    unsynced, other = UnsyncedCharges(), compile_plan("9/day")
    for number in range(ENTRIES_MAX):
        unsynced.add(Charge(PLAN, "one"), number)
        unsynced.add(Charge(other, "one"), number)
    units = Counter[object]()
    for charge, _ in unsynced.take("one"):
        units[charge.plan] += charge.cost
    assert units == {PLAN: ENTRIES_MAX, other: ENTRIES_MAX}


def make_refusal(subject: str) -> tuple[Part, Charge]:
    charge = Charge(PLAN, subject)
    return Part((charge,), (1.0, 5e6, 0.0, 0.0, 5e6, 0.0, 9.0, 1e9, 0.0), None), charge


def test_a_refusal_is_certain_for_its_wait_and_at_most_a_second() -> None:
    cache = RefusalCache()
    part, charge = make_refusal("one")
    brief = part._replace(values=(1.0, 3e5, *part.values[2:]))
    cache.add(part, charge, now=100.0)
    found = cache.find([charge], 100.5)
    assert found is not None
    assert found.values[1] == 4_500_000
    assert found.values[4::3] == (4_500_000, 999_500_000), "until more comes back"
    assert cache.find([Charge(PLAN, "two")], 100.5) is None
    assert cache.find([charge._replace(cost=0)], 100.5) is None
    assert cache.find([charge], 101.1) is None
    cache.add(brief, charge, now=100.0)
    assert cache.find([charge], 100.4) is None
    cache.add(brief, charge, now=100.0)
    cache.clear()
    assert not cache


def test_a_decision_names_who_refused_and_rounds_the_wait_up() -> None:
    part, _ = make_refusal("one")
    part = part._replace(values=(1.0, 4_000_001.0, *part.values[2:]))
    decision = Refusal((part,), part)
    assert decision.retry_after_seconds == 5
    assert decision.refused_by is PLAN.limits[0]
    assert "refused" in repr(decision)
    assert Refusal((part,), part._replace(values=(1.0, 1.0, *part.values[2:]))).retry_after_seconds == 1
    assert "admitted" in repr(Decision(()))


def test_refusals_are_counted_by_limit_and_subject_within_bounds() -> None:
    tally = RefusalTally()
    for number in range(NAMES_MAX + 10):
        tally.add("login-60", f"s{number}")
    tally.add("login-60", "s1")
    counted = tally.count()
    assert counted["login-60", "s1"] == 2
    assert counted["login-60", ""] >= 9
    assert sum(counted.values()) == NAMES_MAX + 11


def test_with_a_clock_that_is_set_back_each_refusal_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, told = RefusalTally(), 0
    for seconds in (6000, 6060, 6000, 6120):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
        tally.add("login-60", "address:192.0.2.1")
        told += sum(counter.total() for _, counter in tally.take_untold())
    assert (told, tally.take_untold()) == (4, [])


def test_refusals_that_could_not_be_told_are_told_the_next_time() -> None:
    tally = RefusalTally()
    tally.add("login-60", "address:192.0.2.1")
    untold = tally.take_untold()
    tally.restore(untold)
    assert tally.take_untold() == untold
    assert tally.take_untold() == []
