from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.database import parse_database_url

PAGE = Path(__file__).parents[3] / "docs" / "database.md"
EXAMPLES = re.findall(r"^DATABASE_URL=(\S+)$", PAGE.read_text(), re.MULTILINE)


def test_the_page_has_examples_of_every_database() -> None:
    assert {example.partition(":")[0] for example in EXAMPLES} == {"sqlite", "postgresql", "mysql"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_page_is_accepted_in_production(example: str, tmp_path: Path) -> None:
    ca = tmp_path / "our-ca.pem"
    ca.write_text("a certificate")
    parse_database_url(example.replace("/etc/ssl/our-ca.pem", str(ca))).refuse_clear_text()
