"""Wrong passwords and codes in a row: how many an account had, and when no guess at it is answered any more.

The count outlives restarts, the limiter's store and its windows, which only slow a guesser down. Source: NIST SP
800-63B-4, section 3.2.2 (at most 100 consecutive failures); the design: docs/adr/0032-guesses-in-a-row.md.
"""

import hashlib
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import now
from app.database import insert_unless_there
from app.extensions import db, get_settings
from app.models import GuessCount
from app.security import list_account_names
from app.utils import AppError

_OF_ACCOUNT: Final = GuessCount.account_hash == sa.bindparam("name_hash")
_MAX: Final = sa.bindparam("guesses_max", type_=sa.Integer)
_FAILURES: Final = sa.select(GuessCount.failures).where(_OF_ACCOUNT)
_COUNT: Final = (
    sa.update(GuessCount)
    .where(_OF_ACCOUNT, GuessCount.failures < _MAX)
    .values(failures=GuessCount.failures + 1, failed_at=sa.bindparam("instant"))
)
_CLEAR: Final = sa.delete(GuessCount).where(_OF_ACCOUNT)

IS_ANSWERED: Final = ~sa.exists().where(_OF_ACCOUNT, GuessCount.failures >= _MAX)
"""The condition, with the parameters of ``bind``, under which a right guess is called right.

It stands in the statement that first makes use of the guess. Of many that are checked at once, it is what refuses the
right one where too many wrong ones came before: ``count_failure`` alone would not.
"""


class TooManyGuesses(AppError):
    """So many wrong passwords or codes in a row that no guess is answered any more."""

    status = 429
    title = "Too many wrong guesses"
    detail = (
        "There were too many wrong passwords or codes in a row for this account, and waiting does not help. Reset the"
        " password by mail, sign in by mail where that is offered, or ask an administrator to unlock the account."
    )


# --- for the other services ---


def hash_name(account_name: str) -> str:
    """Return by what an account's count is found, so that nobody reads addresses in the table."""
    return hashlib.sha256(account_name.encode()).hexdigest()


def name_codes(account_name: str) -> str:
    """Return under which name wrong mailed codes are counted beside the wrong passwords."""
    return f"{account_name}/codes"


def bind(account_name: str) -> dict[str, Any]:
    """Return the parameters of a statement with ``IS_ANSWERED``."""
    return {"name_hash": hash_name(account_name), "guesses_max": get_settings().guesses_max}


def refuse_beyond_max(failures: int | None) -> None:
    """Refuse a guess after so many ``failures`` in a row; None stands for none.

    Raises:
        TooManyGuesses: there were too many.
    """
    if failures is not None and failures >= get_settings().guesses_max:
        raise TooManyGuesses


def refuse_further(session: Session, account_name: str) -> None:
    """Refuse a guess if ``session`` reads that there were too many wrong ones in a row.

    Raises:
        TooManyGuesses: there were.
    """
    refuse_beyond_max(session.scalar(_FAILURES, {"name_hash": hash_name(account_name)}))


def count_failure(account_name: str, *, is_first: bool) -> None:
    """Count a wrong guess in the current transaction, before anybody is told that it was wrong.

    ``is_first`` is whether there seemed to be no count, which saves a statement where it is so.

    Raises:
        TooManyGuesses: others were counted meanwhile, and nobody may learn about this one.
    """
    connection = db.session.connection()
    parameters = bind(account_name)
    first = {"account_hash": parameters["name_hash"], "failures": 1, "failed_at": now()}
    # Others may add the count, or take it away, between two statements.
    for is_missing in (is_first, True):
        if is_missing and insert_unless_there(connection, GuessCount, first):
            return
        if connection.execute(_COUNT, {**parameters, "instant": now()}).rowcount:
            return
    raise TooManyGuesses


def clear(account_name: str) -> None:
    """Forget in the current transaction the wrong guesses that came before a right one, under the same name."""
    db.session.connection().execute(_CLEAR, {"name_hash": hash_name(account_name)})


def forget(email: str) -> None:
    """Forget in the current transaction all wrong guesses at an account, from whatever browser."""
    names = list_account_names(email)
    hashes = [hash_name(name) for name in (*names, *map(name_codes, names))]
    db.session.connection().execute(sa.delete(GuessCount).where(GuessCount.account_hash.in_(hashes)))
