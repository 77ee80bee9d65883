"""Invoices for Gatehouse: what customers owe, seen by the customer and kept by the office."""

from pathlib import Path

from gatehouse import Extension

from . import commands, hooks, lines
from .invoices import routes
from .invoices.models import Invoice
from .lines import InvoiceLine
from .settings import InvoiceSettings

extension = Extension(
    name="acme_invoices",
    version="1.0.0",
    face=1,
    models=[Invoice, InvoiceLine],
    blueprints=[routes.blueprint, lines.blueprint],
    permissions={"invoices:read": "See all invoices", "invoices:write": "Create, change and delete invoices"},
    settings=InvoiceSettings,
    limits={"export": "10/minute"},
    commands=[commands.invoices_group],
    migrations=Path(__file__).with_name("migrations"),
    # The books have to be kept: whoever has an invoice is deactivated, not deleted.
    on_user_deletion={Invoice: "refuse"},
    export_user=hooks.export_user,
    describe_users=hooks.describe_users,
    check_health=hooks.check_health,
)
