"""What the doctor says of a database that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.database import parse_database_url
from app.database.diagnosis import REMEDIES, diagnose

from .conftest import MARIADB, POSTGRES
from .harness.ports import find_free_port
from .harness.tls import Authority
from .test_tls import CA_PARAMETER, make_tls_server

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Server


def find_ailment(url: str) -> str:
    (diagnosis,) = diagnose(parse_database_url(url))
    assert bool(diagnosis.remedy) is (diagnosis.ailment != "none")
    return diagnosis.ailment


def test_each_fault_has_a_name(server: Server) -> None:
    url = server.make_url("connect_timeout=1")
    is_postgres = url.startswith("postgresql")
    # The tests' MariaDB has another character set on purpose.
    assert find_ailment(url) == ("none" if is_postgres else "encoding")
    assert find_ailment(url.replace("127.0.0.1", "db.invalid")) == "name"
    assert find_ailment(server.make_url(port=find_free_port())) == "refused"
    assert find_ailment(url.replace("@127", "wrong@127")) == "credentials"
    assert find_ailment(url.replace("gatehouse:", "nobody:")) == "credentials"
    assert find_ailment(url.replace("/accounts", "/nothing")) == "database"
    assert find_ailment(f"{url}&{'sslmode=require' if is_postgres else 'ssl=unverified'}") == "tls"
    server.freeze()
    assert find_ailment(url) == "silent"


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_a_certificate_that_is_not_believed_is_told(name: str, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "Another CA")
    with make_tls_server(name, authority.issue("server", hosts=("db.example.com",))) as server:
        for ca in (authority, other):
            assert find_ailment(server.make_url(f"{CA_PARAMETER[name]}={ca.path}")) == "tls"


@pytest.mark.server("mariadb")
def test_a_server_that_takes_no_writes_is_told() -> None:
    with make_tls_server("mariadb", None, settings={"read_only": "1"}) as server:
        assert find_ailment(server.make_url()) == "read_only"


def test_every_ailment_but_none_has_a_remedy() -> None:
    assert [ailment for ailment, remedy in REMEDIES.items() if not remedy] == ["none"]
