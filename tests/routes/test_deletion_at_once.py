"""A user is deleted while others store rows that refer to the user: either the row was first, or the deletion."""

from __future__ import annotations

import functools
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from app import create_app
from app.config import Settings
from app.database import ReferenceRefused
from app.extending import Extension
from app.extensions import db, retried, transaction
from app.models import Base, User
from app.services import leaving
from gatehouse.testing.factories import Factory
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from gatehouse.testing.clock import Clock

USERS = "/api/v1/users"
ROUNDS = 8
DELAY_SECONDS = 0.004
GRACE_SECONDS = 14 * 24 * 3600

pytestmark = pytest.mark.every_database


class Letter(Base):
    """Keeps its user, as the database sees it."""

    __tablename__ = "acme_mixed_letters"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"), index=True)


class Parcel(Base):
    """Goes with its user, as the database sees it."""

    __tablename__ = "acme_mixed_parcels"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)


MODELS: tuple[type[Any], ...] = (Letter, Parcel)


@pytest.fixture
def extend(environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Make an application with an extension that makes a choice for both models; their tables are there."""
    apps: list[Flask] = []
    tables = [cast("sa.Table", model.__table__) for model in MODELS]

    def make(choice: str, **changes: str) -> Flask:
        choices: Any = dict.fromkeys(MODELS, choice)
        folder = Path(__file__).parent
        extension = Extension(
            name="acme_mixed", version="1", face=1, models=MODELS, migrations=folder, on_user_deletion=choices
        )
        apps.append(create_app(Settings.from_environ(environ | changes), [extension]))
        with apps[-1].app_context(), db.engine.execution_options(is_write=True).begin() as connection:
            Base.metadata.create_all(connection, tables=tables)
        return apps[-1]

    yield make
    for app in apps:
        with app.app_context(), db.engine.execution_options(is_write=True).begin() as connection:
            Base.metadata.drop_all(connection, tables=tables)
        close(app)


@retried
def store(model: type[Any], user_id: uuid.UUID, key: uuid.UUID, delay_seconds: float) -> bool:
    """Store a row about a user, and take a moment before the commit; say whether the user was still there."""
    try:
        with transaction() as session:
            session.execute(sa.insert(model).values(id=key, user_id=user_id))
            threading.Event().wait(delay_seconds)
    except ReferenceRefused:
        return False
    return True


class Race:
    """A deletion and a row about the same user, begun at once, and what came of both."""

    def __init__(self, app: Flask, user: User, number: int) -> None:
        self._app, self._user = app, user
        self._model = MODELS[number % 2]
        # The row is first, or the deletion, or they meet.
        self._before, self._within = divmod(number // 2, 2)
        self.is_stored = False
        self.answer: Any = None
        self._key = uuid7()

    def run(self, delete: Callable[[], Any]) -> None:
        begin = threading.Barrier(2)
        errors: list[Exception] = []

        def write() -> None:
            begin.wait(10)
            threading.Event().wait(self._before * DELAY_SECONDS)
            try:
                with self._app.app_context():
                    self.is_stored = store(self._model, self._user.id, self._key, self._within * DELAY_SECONDS)
            except Exception as error:  # noqa: BLE001 - told below
                errors.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        begin.wait(10)
        self.answer = delete()
        thread.join(60)
        assert not errors

    @property
    def is_refused(self) -> bool:
        """Whether the deletion was; anything but yes and no is a failure."""
        refused = (self.answer.status_code, (self.answer.get_json(silent=True) or {}).get("code"))
        assert refused in {(204, None), (409, "user_in_use")}, self.answer.text
        return refused[0] == 409

    def find_row(self) -> Any:
        with self._app.app_context():
            columns = self._model.__table__.columns
            return db.session.execute(sa.select(*columns).where(columns.id == self._key)).first()

    def has_user(self) -> bool:
        with self._app.app_context():
            return db.session.get(User, self._user.id) is not None


def assert_consistent(race: Race, choice: str) -> None:
    """The database holds what would be there, had one been after the other."""
    row = race.find_row()
    if race.has_user():
        assert row is not None
        assert row.user_id is not None
    elif not race.is_stored or choice == "delete":
        assert row is None
    else:
        # It was there before the user went, and they keep it.
        assert choice == "keep"
        assert row is not None
        assert row.user_id is None


@pytest.mark.parametrize("choice", ["keep", "refuse", "delete"])
@pytest.mark.parametrize("who", ["administrator", "owner"])
def test_a_row_that_is_stored_while_its_user_is_deleted_is_first_or_refused(
    extend: Callable[..., Flask], who: str, choice: str
) -> None:
    app = extend(choice, DELETION_GRACE_DAYS="0")
    factory = Factory(app)
    admin = factory.sign_in(factory.admin())
    for number in range(ROUNDS):
        user = factory.user()
        browser, path = (admin, user.id) if who == "administrator" else (factory.sign_in(user), "me")
        race = Race(app, user, number)
        race.run(functools.partial(browser.delete, f"{USERS}/{path}"))
        assert race.is_refused == race.has_user()
        assert not (race.is_refused and not race.is_stored)
        assert_consistent(race, choice)


@pytest.mark.parametrize("choice", ["keep", "refuse", "delete"])
def test_a_row_that_is_stored_while_its_user_leaves_or_is_due_is_first_or_refused(
    extend: Callable[..., Flask], clock: Clock, choice: str
) -> None:
    app = extend(choice, DELETION_GRACE_DAYS="14")
    factory = Factory(app)
    leavers: list[User] = []
    for number in range(ROUNDS):
        user = factory.user()
        browser = factory.sign_in(user)
        race = Race(app, user, number)
        race.run(functools.partial(browser.delete, f"{USERS}/me"))
        # Trying whether the user can go takes nothing away.
        assert race.is_stored
        assert race.has_user()
        assert_consistent(race, choice)
        if not race.is_refused:
            leavers.append(user)
    assert leavers or choice == "refuse"
    clock.advance(GRACE_SECONDS + 60)

    def delete_due() -> int:
        with app.app_context():
            return leaving.delete_due()

    for number, user in enumerate(leavers):
        race = Race(app, user, number)
        race.run(delete_due)
        assert_consistent(race, choice)
