"""Those who add models, blueprints, permissions and settings in the product's own files edit none of its tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from app.config import ROOT

# What is not the product: what git does not keep, and what is too large to copy for nothing.
LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv", "var", "__pycache__", ".*_cache", ".hypothesis", ".coverage*", ".env", "htmlcov", "dist", "build"
)

MODEL: Final = '''

class Invoice(Base):
    """What somebody owes."""

    __tablename__ = "invoices"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[str] = mapped_column(ExactString(40), unique=True)
    note: Mapped[str | None] = mapped_column(ExactString(200))
    is_paid: Mapped[bool] = mapped_column(default=False)
    customer_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)
    due_at: Mapped[datetime.datetime | None]
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
'''
SCHEMAS: Final = '''"""The JSON of invoices."""

from marshmallow import fields, validate

from . import Input, Output, PageQuery
from .values import Flag, Instant, Text


class InvoiceInput(Input):
    """A new invoice."""

    number = Text(min_length=1, max_length=40, required=True)
    note = Text(max_length=200, allow_none=True, load_default=None)
    due_at = Instant(allow_none=True, load_default=None)
    is_paid = Flag(load_default=False)


class InvoiceUpdateInput(Input):
    """Changes to an invoice."""

    note = Text(max_length=200, allow_none=True)
    is_paid = Flag()


class InvoiceOutput(Output):
    """An invoice."""

    id = fields.UUID(required=True)
    number = fields.String(required=True)
    note = fields.String(required=True, allow_none=True)
    due_at = Instant(required=True, allow_none=True)
    is_paid = fields.Boolean(required=True)
    created_at = Instant(required=True)


class InvoicePageOutput(Output):
    """A page of invoices."""

    items = fields.List(fields.Nested(InvoiceOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class InvoiceQuery(PageQuery):
    """Which invoices, and in which order."""

    is_paid = fields.Boolean(truthy={"true"}, falsy={"false"})
    sort = fields.String(validate=validate.OneOf(["number", "-number"]), load_default="number")
'''
SERVICE: Final = '''"""What somebody owes."""

import uuid
from typing import Any, Final

import sqlalchemy as sa

from app.database import refuse_duplicate
from app.extensions import db, retried, transaction
from app.models import Invoice
from app.security import Actor
from app.utils import Conflict, NotFound

from . import audit
from .pages import Listing, Page, Sort

_SORTS: Final = {
    "number": Sort("number", Invoice.number, Invoice.id, is_unique=True),
    "-number": Sort("-number", Invoice.number, Invoice.id, is_descending=True, is_unique=True),
}
_INVOICES: Final[Listing[Any]] = Listing(
    sa.select(*Invoice.__table__.columns), filters={"is_paid": lambda is_paid: Invoice.is_paid == is_paid}
)


class InvoiceNotFound(NotFound):
    """There is no such invoice."""

    detail = "There is no invoice with this id."


class InvoiceExists(Conflict):
    """There is an invoice with this number."""

    detail = "There is an invoice with this number already."


@retried
def list_invoices(*, sort: str, limit: int, cursor: str | None = None, is_paid: bool | None = None) -> Page[Any]:
    """Return a page of invoices.

    Raises:
        InvalidCursor: the cursor is not one of this list in this order.
    """
    return _INVOICES.get_page(_SORTS[sort], limit=limit, cursor=cursor, is_paid=is_paid)


@retried
def create_invoice(*, actor: Actor, **values: Any) -> Invoice:  # noqa: ANN401 - the columns
    """Make an invoice.

    Raises:
        InvoiceExists: there is one with this number.
    """
    with transaction() as session, refuse_duplicate(Invoice.number, InvoiceExists):
        invoice = Invoice(**values)
        session.add(invoice)
        session.flush()
        audit.record("invoice.created", actor=actor, target=invoice.id)
        return invoice


@retried
def update_invoice(invoice_id: uuid.UUID, *, changes: dict[str, Any], actor: Actor) -> Invoice:
    """Change an invoice.

    Raises:
        InvoiceNotFound: there is none.
    """
    with transaction() as session:
        invoice = _read_invoice(invoice_id)
        for name, value in changes.items():
            setattr(invoice, name, value)
        session.flush()
        audit.record("invoice.updated", actor=actor, target=invoice.id)
        return invoice


@retried
def delete_invoice(invoice_id: uuid.UUID, *, actor: Actor) -> None:
    """Delete an invoice.

    Raises:
        InvoiceNotFound: there is none.
    """
    with transaction() as session:
        session.delete(_read_invoice(invoice_id))
        audit.record("invoice.deleted", actor=actor, target=invoice_id)


def _read_invoice(invoice_id: uuid.UUID) -> Invoice:
    invoice = db.session.get(Invoice, invoice_id)
    if invoice is None:
        raise InvoiceNotFound
    return invoice
'''
ROUTES: Final = '''"""What somebody owes."""

import uuid
from typing import Any

from flask import Response

from app.extensions import get_settings
from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.schemas.invoices import InvoiceInput, InvoiceOutput, InvoicePageOutput, InvoiceQuery, InvoiceUpdateInput
from app.security import requires
from app.services import invoices
from app.services.invoices import InvoiceExists, InvoiceNotFound
from app.services.cursors import InvalidCursor

blueprint = Blueprint("invoice", __name__, url_prefix="/api/v1/invoices", description="Invoices")


@blueprint.route("")
@blueprint.resource("invoices", title="number", columns=("number", "due_at", "is_paid"))
@blueprint.response(200, InvoicePageOutput)
@blueprint.arguments(InvoiceQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("invoices:read")
def list_invoices(query: dict[str, Any]) -> Any:
    """List the invoices, page by page."""
    return invoices.list_invoices(**query)


@blueprint.route("", methods=["POST"])
@blueprint.response(201, InvoiceOutput)
@blueprint.arguments(InvoiceInput)
@blueprint.raises(InvoiceExists)
@requires("invoices:write")
def create_invoice(body: dict[str, Any]) -> Any:
    """Make an invoice."""
    body["number"] = body["number"].removeprefix(get_settings().invoice_prefix)
    return invoices.create_invoice(**body, actor=get_actor())


@blueprint.route("/<uuid:invoice_id>", methods=["PATCH"])
@blueprint.response(200, InvoiceOutput)
@blueprint.arguments(InvoiceUpdateInput)
@blueprint.raises(InvoiceNotFound)
@requires("invoices:write")
def update_invoice(body: dict[str, Any], invoice_id: uuid.UUID) -> Any:
    """Change an invoice."""
    return invoices.update_invoice(invoice_id, changes=body, actor=get_actor())


@blueprint.route("/<uuid:invoice_id>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(InvoiceNotFound)
@requires("invoices:write", fresh=True)
def delete_invoice(invoice_id: uuid.UUID) -> Response:
    """Delete an invoice."""
    invoices.delete_invoice(invoice_id, actor=get_actor())
    return Response(status=204)
'''


def edit(path: Path, pattern: str, replacement: str) -> None:
    """Replace the one place of a file that ``pattern`` finds."""
    text, count = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{pattern} is in {path.name} {count} times"
    path.write_text(text)


def run(folder: Path, *arguments: str) -> str:
    """Run Python in the copy and return what it said."""
    # Nothing of the tests' own: neither settings nor coverage, which would count the copy as the product.
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product, edited as its README says."""
    folder = tmp_path_factory.mktemp("edited") / "product"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    app = folder / "app"
    (app / "services" / "invoices.py").write_text(SERVICE)
    (app / "routes" / "invoice.py").write_text(ROUTES)
    (app / "schemas" / "invoices.py").write_text(SCHEMAS)
    (app / "models.py").write_text((app / "models.py").read_text() + MODEL)
    edit(app / "permissions.py", r'^(        "ratelimits:read")', r'        "invoices:read": "See all invoices",\n\1')
    edit(app / "permissions.py", r'^(        "ratelimits:read")', r'        "invoices:write": "Change invoices",\n\1')
    edit(app / "routes" / "__init__.py", r"^    me,$", "    me,\n    invoice,")
    edit(app / "routes" / "__init__.py", r"^        me,$", "        me,\n        invoice,")
    edit(app / "config.py", r"^(    host: str = )", r'    invoice_prefix: str = setting(parse_text, "INV-")\n\1')
    edit(
        folder / ".env.example",
        r"^(# Where the server listens.*)$",
        r"# What the numbers of invoices may begin with.\n#INVOICE_PREFIX=INV-\n\n\1",
    )
    return folder


@pytest.mark.timeout(300)
def test_an_edited_product_passes_the_tests_that_know_all_of_it(copy: Path) -> None:
    run(copy, "-m", "flask", "db", "upgrade")
    run(copy, "-m", "flask", "db", "migrate", "-m", "invoices")
    (migration,) = [path for path in (copy / "app/migrations/versions").glob("*.py") if "invoices" in path.name]
    assert "create_table" in migration.read_text()
    # MariaDB would refuse to: it is the index of a foreign key. It goes with the table.
    assert "drop_index" not in migration.read_text()
    said = run(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--without", "postgresql", "--without", "mariadb",
        f"--ignore=tests/house/{Path(__file__).name}",
        # They break the rules of imports one by one, which says nothing of the edits.
        "--deselect=tests/house/test_rules.py::test_each_import_rule_fails_when_it_is_broken",
        "tests/house", "tests/routes/test_bad_input.py", "tests/routes/test_openapi.py",
    )  # fmt: skip
    assert " passed" in said
