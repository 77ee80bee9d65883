"""What becomes of rows that others store about a user, when the user is deleted."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from app import create_app
from app.config import Settings
from app.database import ReferenceRefused, refuse_missing
from app.extending import Extension
from app.extensions import db, transaction
from app.models import Base, User
from app.services.accounts import UserNotFound
from gatehouse.testing.factories import Factory
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

USERS = "/api/v1/users"


class Bill(Base):
    """Refers to a user; a line refers to it."""

    __tablename__ = "acme_bills_bills"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    customer_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"), index=True)
    seller_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"), index=True)


class Reminder(Base):
    """Refers to a bill and to its user."""

    __tablename__ = "acme_bills_reminders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    bill_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("acme_bills_bills.id"), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)


TABLES = [cast("sa.Table", model.__table__) for model in (Bill, Reminder)]


def make_extension(choices: dict[type[Any], str], **parts: Any) -> Extension:
    """Return an extension with these models, and what becomes of the rows of each when a user is deleted."""
    return Extension(
        name="acme_bills",
        version="1",
        face=1,
        models=list(choices),
        migrations=Path(__file__).parent,
        on_user_deletion=cast("Any", choices),
        **parts,
    )


@pytest.fixture
def extend(environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Make an application with extensions; their tables are there."""
    apps: list[Flask] = []

    def make(*extensions: Extension, grace_days: int = 0) -> Flask:
        app = create_app(Settings.from_environ(environ | {"DELETION_GRACE_DAYS": str(grace_days)}), extensions)
        apps.append(app)
        with app.app_context(), writing() as connection:
            Base.metadata.create_all(connection, tables=TABLES)
        return app

    yield make
    for app in apps:
        with app.app_context(), writing() as connection:
            for name in ("handmade_lines", "handmade"):
                connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
            Base.metadata.drop_all(connection, tables=TABLES)
        close(app)


@contextmanager
def writing() -> Iterator[sa.Connection]:
    with db.engine.execution_options(is_write=True).begin() as connection:
        yield connection


def make_handmade(connection: sa.Connection) -> None:
    """Make a table that refers to users and is nobody's."""
    type_ = sa.Uuid().compile(connection.dialect)
    connection.execute(
        sa.text(
            f"CREATE TABLE handmade (id INTEGER PRIMARY KEY, person {type_},"
            " FOREIGN KEY (person) REFERENCES users (id) ON DELETE CASCADE)"
        )
    )


def add(app: Flask, model: type[Any], **values: Any) -> uuid.UUID:
    values["id"] = uuid7()
    with app.app_context(), transaction() as session:
        session.execute(sa.insert(model).values(**values))
    return cast("uuid.UUID", values["id"])


def read(app: Flask, model: type[Any]) -> list[Any]:
    with app.app_context():
        return [dict(row) for row in db.session.execute(sa.select(*model.__table__.columns)).mappings()]


def delete(app: Flask, user: User) -> Any:
    factory = Factory(app)
    return factory.sign_in(factory.admin()).delete(f"{USERS}/{user.id}")


def exists(app: Flask, user: User) -> bool:
    with app.app_context():
        return db.session.get(User, user.id) is not None


def assert_in_use(response: Any, table: str) -> None:
    assert (response.status_code, response.get_json()["code"]) == (409, "user_in_use"), response.text
    assert table in response.get_json()["detail"]


def test_rows_that_are_to_go_with_the_user_go_children_first(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Bill: "delete", Reminder: "delete"}))
    user, other = Factory(app).user(), Factory(app).user()
    bill = add(app, Bill, customer_id=user.id)
    add(app, Reminder, bill_id=bill, user_id=user.id)
    kept = add(app, Bill, customer_id=other.id)
    assert delete(app, user).status_code == 204
    assert [row["id"] for row in read(app, Bill)] == [kept]
    assert not read(app, Reminder)
    assert not exists(app, user)


def test_rows_that_are_kept_no_longer_refer_to_the_user_in_any_column(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Bill: "keep", Reminder: "delete"}))
    user, other = Factory(app).user(), Factory(app).user()
    add(app, Bill, customer_id=user.id, seller_id=other.id)
    add(app, Bill, customer_id=other.id, seller_id=user.id)
    browser = Factory(app).sign_in(user)
    assert browser.delete(f"{USERS}/me").status_code == 204
    rows = {(row["customer_id"], row["seller_id"]) for row in read(app, Bill)}
    assert rows == {(None, other.id), (other.id, None)}


def test_who_cannot_go_is_told_before_the_time_of_grace_and_not_after(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Reminder: "delete", Bill: "refuse"}), grace_days=14)
    user = Factory(app).user()
    add(app, Bill, customer_id=user.id)
    browser = Factory(app).sign_in(user)
    assert_in_use(browser.delete(f"{USERS}/me"), "acme_bills_bills")
    assert browser.get(f"{USERS}/me").get_json()["deletion_due_at"] is None


def test_an_extension_that_refuses_is_asked_before_anything_is_deleted(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Reminder: "delete", Bill: "refuse"}))
    user = Factory(app).user()
    bill = add(app, Bill, seller_id=user.id)
    add(app, Reminder, bill_id=bill, user_id=user.id)
    browser = Factory(app).sign_in(user)
    assert_in_use(browser.delete(f"{USERS}/me"), "acme_bills_bills")
    assert_in_use(delete(app, user), "acme_bills_bills")
    assert len(read(app, Reminder)) == 1
    assert browser.get(f"{USERS}/me").status_code == 200


def test_an_extension_that_refuses_keeps_a_user_whose_rows_would_go_by_themselves(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Bill: "keep", Reminder: "refuse"}))
    user, other = Factory(app).user(), Factory(app).user()
    add(app, Reminder, bill_id=add(app, Bill, customer_id=other.id), user_id=user.id)
    assert_in_use(delete(app, user), "acme_bills_reminders")
    assert len(read(app, Reminder)) == 1
    assert exists(app, user)


def test_what_an_extension_that_is_not_listed_stores_keeps_the_user(extend: Callable[..., Flask]) -> None:
    app = extend()
    user = Factory(app).user()
    add(app, Bill, customer_id=user.id)
    browser = Factory(app).sign_in(user)
    assert_in_use(browser.delete(f"{USERS}/me"), "acme_bills_bills")
    assert_in_use(delete(app, user), "acme_bills_bills")
    assert exists(app, user)


def test_a_table_that_somebody_made_by_hand_is_named_even_behind_one_whose_rows_go(
    extend: Callable[..., Flask],
) -> None:
    app = extend()
    user = Factory(app).user()
    with app.app_context(), writing() as connection:
        make_handmade(connection)
        connection.execute(
            sa.text(
                "CREATE TABLE handmade_lines (id INTEGER PRIMARY KEY, owner INTEGER,"
                " FOREIGN KEY (owner) REFERENCES handmade (id))"
            )
        )
        handmade = sa.table("handmade", sa.column("id"), sa.column("person", sa.Uuid()))
        connection.execute(sa.insert(handmade).values(id=1, person=user.id))
        connection.execute(sa.text("INSERT INTO handmade_lines VALUES (1, 1)"))
    assert_in_use(delete(app, user), "handmade_lines")
    with app.app_context(), writing() as connection:
        connection.execute(sa.text("DELETE FROM handmade_lines"))
    assert delete(app, user).status_code == 204


def test_a_row_about_a_user_who_has_just_gone_is_refused_in_words(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Bill: "keep", Reminder: "delete"}))
    with pytest.raises(ReferenceRefused):
        add(app, Bill, customer_id=uuid7())
    with pytest.raises(UserNotFound), refuse_missing(cast("Any", Bill.customer_id), UserNotFound):
        add(app, Bill, customer_id=uuid7())
    assert not read(app, Bill)


def test_an_export_says_what_extensions_store_and_which_of_them_say_nothing(extend: Callable[..., Flask]) -> None:
    def fail(_user_id: uuid.UUID) -> Any:
        return db.session.execute(sa.text("SELECT no_such_column")).all()

    app = extend(
        make_extension({Bill: "keep", Reminder: "delete"}, export_user=fail),
        Extension(name="acme_notes", version="1", face=1, export_user=lambda user_id: {"of": str(user_id)}),
        Extension(name="acme_odd", version="1", face=1, export_user=lambda user_id: user_id),
    )
    user = Factory(app).user()
    with app.app_context(), writing() as connection:
        make_handmade(connection)
    response = Factory(app).sign_in(user).get(f"{USERS}/me/export")
    exported = json.loads(response.text)
    assert exported["extensions"] == {"acme_notes": {"of": str(user.id)}}
    assert exported["left_out"] == ["acme_bills", "acme_odd", "handmade"]
    assert exported["user"]["id"] == str(user.id)
    assert exported["audit"]


def test_an_extension_with_references_and_no_export_is_left_out_by_name(extend: Callable[..., Flask]) -> None:
    app = extend(make_extension({Bill: "keep", Reminder: "delete"}))
    browser = Factory(app).sign_in(Factory(app).user())
    exported = browser.get(f"{USERS}/me/export").get_json()
    assert (exported["extensions"], exported["left_out"]) == ({}, ["acme_bills"])
