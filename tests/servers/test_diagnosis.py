"""What the doctor says of a database that cannot be used, or not as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask_migrate import downgrade, upgrade

from app.database.diagnosis import ADVICE
from app.extensions import db
from gatehouse.testing.factories import Factory
from gatehouse.testing.servers import mariadb, postgres
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.ports import find_free_port
from gatehouse.testing.servers.postgres import Postgres
from tests.cli.conftest import Operator

from .conftest import MARIADB, POSTGRES
from .harness.tls import Authority
from .test_tls import CA_PARAMETER, make_tls_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

    from .conftest import Server

    Examine = Callable[[str], "dict[str, str]"]

PASSWORDS = (postgres.PASSWORD, postgres.URL_PASSWORD, mariadb.PASSWORD, mariadb.URL_PASSWORD)


@pytest.fixture
def examine(make_app: Callable[..., Flask]) -> Examine:
    """Return what the doctor finds wrong with a database: each code with its remedy, as JSON and in words."""

    def run(url: str) -> dict[str, str]:
        operator = Operator(make_app(DATABASE_URL=url))
        result = operator.run("doctor", "--json")
        found = [finding for finding in json.loads(result.stdout)["findings"] if finding["status"] == "fault"]
        words = operator.run("doctor")
        assert result.exit_code == words.exit_code == (1 if found else 0)
        for finding in found:
            assert f"FAULT    {finding['check']}: {finding['message']}\n         -> {finding['remedy']}" in words.stdout
        assert not [secret for secret in PASSWORDS if secret in result.output + words.output]
        return {finding["code"]: finding["remedy"] for finding in found}

    return run


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_each_fault_on_the_way_to_the_server_has_a_name_and_a_remedy(name: str, examine: Examine) -> None:
    with Postgres() if name == "postgresql" else MariaDb(character_set_server="utf8mb4") as server:
        url = server.make_url("connect_timeout=1")
        is_postgres = name == "postgresql"
        assert list(examine(url)) == ["schema_none"]
        assert list(examine(url.replace("127.0.0.1", "db.invalid"))) == ["name"]
        assert list(examine(server.make_url(port=find_free_port()))) == ["refused"]
        assert list(examine(url.replace("@127", "wrong@127"))) == ["credentials"]
        assert list(examine(url.replace("gatehouse:", "nobody:"))) == ["credentials"]
        assert list(examine(url.replace("/accounts", "/nothing"))) == ["database"]
        assert list(examine(f"{url}&{'sslmode=require' if is_postgres else 'ssl=unverified'}")) == ["tls_missing"]
        server.freeze()
        assert list(examine(url)) == ["silent"]
        server.thaw()
        if isinstance(server, Postgres):
            server.allow("reject")
            server.reload()
            remedy = examine(url)["credentials"]
            assert "pg_hba.conf" in remedy
        else:
            server.administrate("REVOKE ALL ON accounts.* FROM 'gatehouse'@'%'", database=None)
            assert list(examine(url)) == ["database"]


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_what_is_wrong_with_a_certificate_is_told_apart(
    name: str, authority: Authority, tmp_path: Path, examine: Examine
) -> None:
    trusting = f"{CA_PARAMETER[name]}={authority.path}"
    strange = Authority(tmp_path, "Another CA")
    empty = tmp_path / "empty.pem"
    empty.touch()
    with make_tls_server(name, authority.issue("server")) as server:
        assert "tls_ca" not in examine(server.make_url(trusting))
        assert list(examine(server.make_url(f"{CA_PARAMETER[name]}={strange.path}"))) == ["tls_ca"]
        assert list(examine(server.make_url(f"{CA_PARAMETER[name]}={empty}"))) == ["tls"]
    with make_tls_server(name, authority.issue("server", hosts=("db.example.com",))) as server:
        assert list(examine(server.make_url(trusting))) == ["tls_host"]
    with make_tls_server(name, authority.issue("server", is_expired=True)) as server:
        assert list(examine(server.make_url(trusting))) == ["tls_expired"]
    with make_tls_server(name, authority.issue("server", is_self_signed=True)) as server:
        assert list(examine(server.make_url(trusting))) == ["tls_ca"]
    with make_tls_server(name, None) as server:
        assert list(examine(server.make_url(trusting))) == ["tls_missing"]


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_a_server_that_takes_nobody_without_tls_is_told(name: str, authority: Authority, examine: Examine) -> None:
    with make_tls_server(name, authority.issue("server")) as server:
        if isinstance(server, Postgres):
            server.allow("scram-sha-256", only="hostssl")
            server.reload()
        else:
            server.administrate("SET GLOBAL require_secure_transport = 1")
        url = server.make_url("sslmode=disable" if name == "postgresql" else "ssl=off")
        assert list(examine(url)) == ["tls_wanted"]
        assert list(examine(url.replace("@127", "wrong@127"))) == ["credentials"]


@pytest.mark.server("mariadb")
def test_a_mariadb_that_takes_no_writes_is_told(examine: Examine) -> None:
    with make_tls_server("mariadb", None, settings={"read_only": "1"}) as server:
        assert list(examine(server.make_url())) == ["read_only"]


@pytest.mark.server("postgresql")
def test_a_standby_is_a_fault_alone_and_none_beside_its_primary(make_app: Callable[..., Flask]) -> None:
    with Postgres() as primary, primary.make_standby() as standby:
        app = make_app(DATABASE_URL=postgres.make_url(primary.port, standby.port))
        with app.app_context():
            upgrade()
        Factory(app).admin()
        assert find_statuses(app) == {primary.port: "ok", standby.port: "ok"}
        assert find_statuses(make_app(DATABASE_URL=standby.make_url())) == {standby.port: "fault"}
        # One that is away can wait while the other serves.
        standby.stop()
        assert find_statuses(app) == {primary.port: "ok", standby.port: "warning"}


def find_statuses(app: Flask) -> dict[int, str]:
    findings: list[dict[str, Any]] = json.loads(Operator(app).run("doctor", "--json").stdout)["findings"]
    hosts = [finding for finding in findings if finding["check"] == "database"]
    return {int(finding["message"].split(":")[1]): finding["status"] for finding in hosts}


@pytest.mark.server("postgresql")
def test_a_server_with_no_connection_left_is_told(examine: Examine) -> None:
    with Postgres() as server:
        server.administrate("ALTER ROLE gatehouse CONNECTION LIMIT 0")
        assert list(examine(server.make_url())) == ["full"]


@pytest.mark.server("postgresql")
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_postgresql_database_that_is_not_in_utf8_is_told(encoding: str, examine: Examine) -> None:
    with Postgres() as server:
        make = "CREATE DATABASE {} OWNER gatehouse ENCODING '{}' LOCALE 'C' TEMPLATE template0"
        server.administrate(make.format("narrow", encoding), make.format("wide", "UTF8"))
        assert "encoding" in examine(server.make_url().replace("/accounts", "/narrow"))
        assert "encoding" not in examine(server.make_url().replace("/accounts", "/wide"))


@pytest.mark.server("mariadb")
@pytest.mark.parametrize("charset", ["latin1", "utf8mb3"])
def test_a_mariadb_database_that_is_not_in_utf8mb4_is_told(charset: str, examine: Examine) -> None:
    with MariaDb(character_set_server=charset) as server:
        assert "encoding" in examine(server.make_url())
        server.administrate("ALTER DATABASE accounts CHARACTER SET utf8mb4")
        assert "encoding" not in examine(server.make_url())


@pytest.mark.every_database
def test_a_schema_that_is_missing_old_or_too_new_is_told(
    make_database: Callable[..., str], make_app: Callable[..., Flask], examine: Examine
) -> None:
    url = make_database(is_migrated=False)
    app = make_app(DATABASE_URL=url)
    assert examine(url) == {"schema_none": "flask setup"}
    with app.app_context():
        upgrade(revision="0001")
    assert examine(url) == {"schema_behind": "flask setup"}
    assert Operator(app).run("setup").exit_code == 0
    assert examine(url) == {}
    with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection:
        last = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    (found,) = examine(url).items()
    assert found[0] == "schema_ahead"
    assert f"db downgrade {last}" in found[1]
    assert "newer version" in Operator(app).fail("setup")
    with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :last"), {"last": last})
        connection.commit()
    with app.app_context():
        downgrade(revision="base")
    assert list(examine(url)) == ["schema_none"]


def test_a_command_that_meets_no_database_names_the_doctor(server: Server, make_app: Callable[..., Flask]) -> None:
    app = make_app(DATABASE_URL=server.make_url(port=find_free_port()))
    assert Operator(app).fail("setup").endswith("flask doctor")


def test_every_ailment_but_none_has_a_remedy() -> None:
    assert [ailment for ailment, (_fault, remedy) in ADVICE.items() if not remedy] == ["none"]
    assert all(fault for fault, _remedy in ADVICE.values())
