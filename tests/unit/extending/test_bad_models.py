"""Models of extensions that are not in order stop the start, before a table is made or a row is read."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from app.config import Settings
from app.extending import Extension, ExtensionsRefused, prepare_extensions
from app.product import describe_product
from gatehouse.testing.databases import TEST_ENVIRON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def find_table_faults(tmp_path: Path, declare: Callable[[Any], dict[str, Any]]) -> list[str]:
    """Return what is wrong with the models that ``declare`` makes of a base of their own, beside a table of users."""

    class Own(DeclarativeBase):
        type_annotation_map = {uuid.UUID: sa.Uuid()}  # noqa: RUF012 - SQLAlchemy's way

    sa.Table("users", Own.metadata, sa.Column("id", sa.Uuid(), primary_key=True))
    product = dataclasses.replace(describe_product(Settings.from_environ(TEST_ENVIRON)), base=Own)
    try:
        parts: dict[str, Any] = {"version": "1.0", "face": 1, "migrations": tmp_path} | declare(Own)
        prepare_extensions([], [Extension(name="acme_invoices", **parts)], product)
    except ExtensionsRefused as error:
        return [fault.removeprefix("acme_invoices: ") for fault in error.faults]
    return []


def make_model(
    base: Any, table: str = "acme_invoices", *, is_nullable: bool = False, refers_to: str = "users.id"
) -> Any:
    """Return a model whose rows refer to users."""

    class Invoice(base):  # type: ignore[misc] # mypy does not know the base
        __tablename__ = table
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey(refers_to), nullable=is_nullable)

    return Invoice


def test_a_model_in_order_is_accepted(tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        model = make_model(base, is_nullable=True)
        return {"models": [model], "on_user_deletion": {model: "keep"}}

    assert find_table_faults(tmp_path, declare) == []


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"on_user_deletion": None}, "its model Invoice refers to users: say in on_user_deletion"),
        ({"on_user_deletion": "keep"}, 'with "keep", but user_id cannot be empty'),
        ({"on_user_deletion": "forget"}, "with 'forget': expected keep, refuse, delete"),
        ({"migrations": None}, "it has models and no migrations"),
        ({"migrations": "nowhere"}, "the folder of its migrations is missing: mkdir -p"),
        ({"table": "invoices"}, "the table invoices of its model Invoice needs its name before it"),
        ({"refers_to": "acme_stock.id"}, "refers to acme_stock, neither its own nor Gatehouse's"),
        ({"is_listed": False}, "names Invoice, which is none of its models"),
    ],
)
def test_a_model_that_is_not_in_order_is_refused(parts: dict[str, Any], fault: str, tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        model = make_model(base, parts.get("table", "acme_invoices"), refers_to=parts.get("refers_to", "users.id"))
        choice = parts.get("on_user_deletion", "delete")
        changed: dict[str, Any] = {"on_user_deletion": {model: choice} if choice else {}}
        if "migrations" in parts:
            changed["migrations"] = parts["migrations"] and tmp_path / parts["migrations"]
        return changed | {"models": [model] if parts.get("is_listed", True) else []}

    assert any(fault in told for told in find_table_faults(tmp_path, declare))


def test_what_refers_to_nobody_has_nothing_to_say_of_deleted_users(tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        class Rate(base):  # type: ignore[misc] # mypy does not know the base
            __tablename__ = "acme_invoices_rates"
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True)

        return {"models": [Rate], "on_user_deletion": {Rate: "delete"}}

    (fault,) = find_table_faults(tmp_path, declare)
    assert fault == "on_user_deletion names Rate, which does not refer to users: take it out"


def test_a_table_that_refers_to_users_needs_a_model(tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        sa.Table("acme_invoices_readers", base.metadata, sa.Column("user_id", sa.ForeignKey("users.id")))
        return {}

    (fault,) = find_table_faults(tmp_path, declare)
    assert fault.startswith("its table acme_invoices_readers refers to users and has no model")


def test_a_name_that_some_database_would_cut_off_is_told(tmp_path: Path) -> None:
    column = "a_column_with_a_rather_long_name_that_is_indexed"

    def declare(base: Any) -> dict[str, Any]:
        class Rate(base):  # type: ignore[misc] # mypy does not know the base
            __tablename__ = "acme_invoices_rates"
            __table_args__ = (sa.Index(f"ix_acme_invoices_rates_{column}", column),)
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
            a_column_with_a_rather_long_name_that_is_indexed: Mapped[int]

        return {"models": [Rate]}

    (fault,) = find_table_faults(tmp_path, declare)
    assert fault.startswith(f"the name ix_acme_invoices_rates_{column} is longer than the 63 bytes")


@pytest.mark.parametrize("target", ["acme_invoices_absent.id", "acme_invoices.absent", "users.absent"])
def test_a_reference_to_what_there_is_not_is_told(target: str, tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        model = make_model(base, refers_to=target)
        return {"models": [model], "on_user_deletion": {model: "delete"} if "users" in target else {}}

    (fault,) = find_table_faults(tmp_path, declare)
    assert fault == f"its table acme_invoices refers to {target}, which there is not: correct it"


def test_a_table_is_in_no_schema_of_its_own(tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        class Rate(base):  # type: ignore[misc] # mypy does not know the base
            __tablename__ = "acme_invoices_rates"
            __table_args__ = {"schema": "acme"}  # noqa: RUF012 - SQLAlchemy's way
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True)

        return {"models": [Rate]}

    (fault,) = find_table_faults(tmp_path, declare)
    assert fault.startswith("its table acme.acme_invoices_rates is in a schema of its own")


def test_a_model_that_would_fail_every_query_is_told_before_the_first(tmp_path: Path) -> None:
    def declare(base: Any) -> dict[str, Any]:
        class Rate(base):  # type: ignore[misc] # mypy does not know the base
            __tablename__ = "acme_invoices_rates"
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
            bank = relationship("Bank")

        return {"models": [Rate]}

    (fault,) = find_table_faults(tmp_path, declare)
    assert fault.startswith("its models cannot be used: InvalidRequestError: When initializing mapper Mapper[Rate(")


def test_a_model_of_its_package_that_it_does_not_list_is_told(tmp_path: Path) -> None:
    kept: list[Any] = []  # SQLAlchemy forgets a class that nobody holds

    def declare(base: Any) -> dict[str, Any]:
        class Rate(base):  # type: ignore[misc] # mypy does not know the base
            __tablename__ = "acme_invoices_rates"
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True)

        Rate.__module__ = "acme_invoices.models"
        kept.append(Rate)
        return {}

    assert find_table_faults(tmp_path, declare) == ["its model Rate is not among its models: add it"]


def test_the_tables_of_another_package_are_not_those_of_a_shorter_name(tmp_path: Path) -> None:
    kept: list[Any] = []  # SQLAlchemy forgets a class that nobody holds

    def declare(base: Any) -> dict[str, Any]:
        other = make_model(base, "acme_invoices_extra_cards")
        other.__module__ = "acme_invoices_extra.models"
        sa.Table("acme_invoices_extra_readers", base.metadata, sa.Column("user_id", sa.ForeignKey("users.id")))
        kept.append(other)
        return {}

    assert find_table_faults(tmp_path, declare) == []


def test_a_model_declared_elsewhere_and_not_listed_does_not_matter(tmp_path: Path) -> None:
    kept: list[Any] = []  # likewise

    def declare(base: Any) -> dict[str, Any]:
        kept.append(make_model(base, "acme_invoices_bills"))
        return {}

    assert find_table_faults(tmp_path, declare) == []
