"""What an operator may set."""

import dataclasses

from gatehouse import parse_choice, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class InvoiceSettings:
    """The settings ``ACME_INVOICES_…``."""

    currency: str = setting(parse_choice("EUR", "USD", "GBP", "CHF"), "EUR")
