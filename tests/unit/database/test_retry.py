from __future__ import annotations

import psycopg2
import psycopg2.errors
import pymysql
import pytest
import sqlalchemy as sa

from app.database import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable, run_again, time_limit
from app.database.deadlines import remaining_seconds
from app.database.faults import Kind, classify, is_rolled_back


def no_sleep(_seconds: float) -> None:
    pass


class Unit:
    """Raises what it is given, one error a run, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def wrap(error: Exception) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("UPDATE …", {}, error)


class Answered(psycopg2.Error):
    """What the server answers; only the driver itself can set ``pgcode``, so it stands here as an attribute."""

    pgcode: str | None = None


def answered(code: str) -> Answered:
    error = Answered()
    error.pgcode = code
    return error


CONFLICT = pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")


def test_work_that_succeeds_is_run_once() -> None:
    unit = Unit()
    assert run_again(unit, sleep=no_sleep) == "done"
    assert unit.runs == 1


@pytest.mark.parametrize("error", [ConnectionLost(), wrap(CONFLICT)])
def test_work_that_lost_its_connection_or_a_race_is_run_again(error: Exception) -> None:
    unit = Unit(error, error)
    assert run_again(unit, sleep=no_sleep) == "done"
    assert unit.runs == 3


def test_the_number_of_attempts_is_bounded() -> None:
    unit = Unit(*[wrap(CONFLICT)] * 50)
    with pytest.raises(DatabaseUnavailable, match="Too many changes") as caught:
        run_again(unit, attempts=3, sleep=no_sleep)
    assert unit.runs == 3
    assert isinstance(caught.value.__cause__, sa.exc.DBAPIError)


@pytest.mark.parametrize(
    "error",
    [
        CommitOutcomeUnknown(),
        DatabaseUnavailable(),
        wrap(pymysql.err.IntegrityError(1062, "Duplicate entry")),
        sa.exc.InvalidRequestError("a bug"),
        ValueError("a bug"),
    ],
)
def test_nothing_else_is_ever_run_again(error: Exception) -> None:
    unit = Unit(error)
    with pytest.raises(type(error)) as caught:
        run_again(unit, sleep=no_sleep)
    assert caught.value is error
    assert unit.runs == 1


def test_no_attempt_begins_when_the_time_is_up() -> None:
    unit = Unit(*[ConnectionLost()] * 50)
    with pytest.raises(ConnectionLost):
        run_again(unit, within_seconds=0, sleep=no_sleep)
    assert unit.runs == 1


def test_pauses_grow_and_differ() -> None:
    pauses: list[float] = []
    with pytest.raises(ConnectionLost):
        run_again(Unit(*[ConnectionLost()] * 50), attempts=5, within_seconds=60, sleep=pauses.append)
    assert len(set(pauses)) == 4
    assert all(0 <= pause <= 0.05 * 2**index for index, pause in enumerate(pauses))


def test_an_inner_time_limit_only_shortens() -> None:
    with time_limit(10):
        with time_limit(100):
            assert (remaining_seconds() or 0) <= 10
        with time_limit(1):
            assert (remaining_seconds() or 0) <= 1
        assert (remaining_seconds() or 0) > 1
    assert remaining_seconds() is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg2.OperationalError("server closed the connection unexpectedly"), Kind.LOST),
        (psycopg2.InterfaceError("connection already closed"), Kind.LOST),
        (psycopg2.ProgrammingError("a bug"), Kind.OTHER),
        (pymysql.err.OperationalError(2013, "Lost connection"), Kind.LOST),
        (pymysql.err.InterfaceError(0, ""), Kind.LOST),
        (pymysql.err.OperationalError(1290, "running with the --read-only option"), Kind.READ_ONLY),
        (pymysql.err.OperationalError(1290, "running with the --secure-file-priv option"), Kind.OTHER),
        (pymysql.err.OperationalError(1836, "Running in read-only mode"), Kind.READ_ONLY),
        (pymysql.err.OperationalError(1792, "Cannot execute statement in a READ ONLY transaction"), Kind.READ_ONLY),
        (pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), Kind.CONFLICT),
        (pymysql.err.OperationalError(1040, "Too many connections"), Kind.BUSY),
        *[(pymysql.err.OperationalError(code, "No room left"), Kind.BUSY) for code in (1021, 1026, 1030, 1114)],
        (pymysql.err.ProgrammingError(1064, "You have an error in your SQL syntax"), Kind.OTHER),
        (ValueError("a bug"), Kind.OTHER),
    ],
)
def test_a_driver_s_error_is_told_by_what_may_be_done_about_it(error: Exception, kind: Kind) -> None:
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("error", "is_certain"),
    [
        (CONFLICT, True),
        (pymysql.err.IntegrityError(1062, "Duplicate entry"), True),
        (pymysql.err.OperationalError(1290, "running with the --read-only option"), True),
        (pymysql.err.OperationalError(2013, "Lost connection"), False),
        (pymysql.err.OperationalError(1180, "Got error during COMMIT"), False),
        (psycopg2.OperationalError("server closed the connection unexpectedly"), False),
        (answered("40001"), True),
        (answered("23505"), True),
        (answered("40003"), False),
        (answered("57P01"), False),
    ],
)
def test_only_an_answer_that_proves_it_makes_a_failed_commit_certain(error: Exception, *, is_certain: bool) -> None:
    assert is_rolled_back(error) is is_certain
