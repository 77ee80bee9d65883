"""Encryption: whom the engine believes to be its database, and what it says to everybody else."""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.database import DatabaseUnavailable, make_engine, parse_database_url
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres

from .conftest import MARIADB, POSTGRES
from .harness.proxy import Proxy
from .harness.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from gatehouse.testing.servers.certificate import Certificate

    from .conftest import Server

# What TLS 1.3 disguises as application data: an alert (2 bytes), and the end of a handshake (4 and a hash of 32 or 48),
# each with a type and a tag of 16. libpq compares host names only after that end, and before it says anything itself.
HANDSHAKE_BYTES = {2 + 17, 4 + 32 + 17, 4 + 48 + 17}
APPLICATION_DATA = 23
OLD_PROTOCOL = {
    "postgresql": {
        "ssl_min_protocol_version": "TLSv1",
        "ssl_max_protocol_version": "TLSv1.1",
        "ssl_ciphers": "ALL:@SECLEVEL=0",
    },
    "mariadb": {"tls_version": "TLSv1.1", "ssl_cipher": "ALL:@SECLEVEL=0"},
}
CA_PARAMETER = {"postgresql": "sslrootcert", "mariadb": "ssl_ca"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A server that is, or is not, what the engine was told to expect."""

    is_trusted: bool = False
    has_tls: bool = True
    is_ca_wrong: bool = False
    is_self_signed: bool = False
    is_expired: bool = False
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    is_old: bool = False


CASES = {
    "right CA": Case(is_trusted=True),
    "wrong CA": Case(is_ca_wrong=True),
    "self-signed": Case(is_self_signed=True),
    "expired": Case(is_expired=True),
    "wrong host name": Case(hosts=("db.example.com", "10.0.0.1")),
    "no TLS": Case(has_tls=False),
    "old protocol": Case(is_old=True),
}


def make_tls_server(
    name: str, tls: Certificate | None, *, ca: Path | None = None, settings: dict[str, str] | None = None
) -> Server:
    maker = Postgres if name == "postgresql" else MariaDb
    return maker(tls=tls, ca=ca, **(settings or {}))


def find_cipher(url: str) -> str:
    """Return how the connection is encrypted, empty where it is not."""
    target = parse_database_url(url)
    target.refuse_clear_text()
    engine = make_engine(target)
    ask = {
        "postgresql": "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        "mysql": "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
    }
    try:
        with engine.connect() as connection:
            return str(connection.execute(sa.text(ask[engine.dialect.name])).one()[-1] or "")
    finally:
        engine.dispose()


def list_application_data(sent: bytes) -> list[int]:
    """Return the lengths of the encrypted records in what a client sent, asking for TLS included."""
    start = sent.find(b"\x16\x03")
    lengths = []
    while start >= 0 and start + 5 <= len(sent):
        kind, _version, length = struct.unpack_from(">BHH", sent, start)
        if kind == APPLICATION_DATA:
            lengths.append(length)
        start += 5 + length
    return lengths


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_only_the_verified_server_is_told_anything(name: str, case: Case, authority: Authority, tmp_path: Path) -> None:
    issuer = Authority(tmp_path, "Another CA") if case.is_ca_wrong else authority
    certificate = issuer.issue(
        "server", hosts=case.hosts, is_expired=case.is_expired, is_self_signed=case.is_self_signed
    )
    settings = OLD_PROTOCOL[name] if case.is_old else {}
    with (
        make_tls_server(name, certificate if case.has_tls else None, settings=settings) as server,
        Proxy(server.port) as proxy,
    ):
        url = server.make_url(f"{CA_PARAMETER[name]}={authority.path}", port=proxy.port)
        if case.is_trusted:
            assert find_cipher(url)
        else:
            with pytest.raises(DatabaseUnavailable):
                find_cipher(url)
            assert set(list_application_data(bytes(proxy.sent))) <= HANDSHAKE_BYTES
        assert proxy.accepted >= 1
        assert b"gatehouse" not in proxy.sent
        assert b"p@ss" not in proxy.sent


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_a_server_that_asks_for_a_client_certificate_gets_it(name: str, authority: Authority) -> None:
    client = authority.issue("gatehouse", is_client=True)
    with make_tls_server(name, authority.issue("server"), ca=authority.path) as server:
        if isinstance(server, Postgres):
            server.allow("scram-sha-256 clientcert=verify-full", only="hostssl")
            server.reload()
            query = f"sslrootcert={authority.path}&sslcert={client.certificate}&sslkey={client.key}"
            without = f"sslrootcert={authority.path}"
        else:
            server.administrate("ALTER USER gatehouse REQUIRE X509")
            query = f"ssl_ca={authority.path}&ssl_cert={client.certificate}&ssl_key={client.key}"
            without = f"ssl_ca={authority.path}"
        assert find_cipher(server.make_url(query))
        with pytest.raises(DatabaseUnavailable):
            find_cipher(server.make_url(without))


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_a_self_signed_server_is_encrypted_to_when_the_url_says_that_it_need_not_be_verified(
    name: str, authority: Authority
) -> None:
    words = {"postgresql": "sslmode=require", "mariadb": "ssl=unverified"}
    with make_tls_server(name, authority.issue("server", is_self_signed=True)) as server:
        assert find_cipher(server.make_url(words[name]))


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_the_chain_alone_is_verified_when_the_url_says_so(name: str, authority: Authority, tmp_path: Path) -> None:
    words = {
        "postgresql": "sslmode=verify-ca&sslrootcert={}",
        "mariadb": "ssl_verify_identity=false&ssl_ca={}",
    }
    with make_tls_server(name, authority.issue("server", hosts=("db.example.com",))) as server:
        assert find_cipher(server.make_url(words[name].format(authority.path)))
        with pytest.raises(DatabaseUnavailable):
            find_cipher(server.make_url(words[name].format(Authority(tmp_path, "Another CA").path)))


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_a_url_that_asks_for_no_encryption_gets_none(name: str, authority: Authority) -> None:
    words = {"postgresql": "sslmode=disable", "mariadb": "ssl=off"}
    with make_tls_server(name, authority.issue("server")) as server:
        assert not find_cipher(server.make_url(words[name]))


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_without_a_ca_of_ours_the_system_s_decide(name: str, authority: Authority) -> None:
    words = {"postgresql": "sslmode=verify-full", "mariadb": "ssl=on"}
    with make_tls_server(name, authority.issue("server")) as server, pytest.raises(DatabaseUnavailable):
        find_cipher(server.make_url(words[name]))


@pytest.mark.server("mariadb")
def test_a_server_is_reached_through_its_socket() -> None:
    with MariaDb() as server:
        path = str(server.socket).replace("/", "%2F")
        assert not find_cipher(server.make_url().replace(f"127.0.0.1:{server.port}", path))


@pytest.mark.server("postgresql")
def test_a_server_is_reached_through_its_socket_s_folder() -> None:
    with Postgres(unix_socket_directories=".") as server:
        server.allow("scram-sha-256", address="")
        server.reload()
        path = str(server.data).replace("/", "%2F")
        assert not find_cipher(server.make_url().replace("127.0.0.1:", f"{path}:"))


@pytest.mark.server("postgresql")
def test_a_password_is_not_told_in_clear_to_a_server_that_is_not_verified(authority: Authority) -> None:
    with Postgres(tls=authority.issue("server")) as server:
        server.allow("password")
        server.reload()
        with Proxy(server.port) as proxy:
            with pytest.raises(DatabaseUnavailable):
                find_cipher(server.make_url("sslmode=disable", port=proxy.port))
            assert b"p@ss" not in proxy.sent
        assert find_cipher(server.make_url(f"sslrootcert={authority.path}"))
