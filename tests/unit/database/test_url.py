from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.database import DatabaseTarget, DatabaseUrlError, parse_database_url
from app.database.url import Host

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "pa55-Wörd"


def parse(text: str, *, require_tls: bool) -> DatabaseTarget:
    target = parse_database_url(text)
    if require_tls:
        target.refuse_clear_text()
    return target


def refuse(text: str, *, require_tls: bool = False) -> str:
    with pytest.raises(DatabaseUrlError) as caught:
        parse(text, require_tls=require_tls)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_sqlite_url_names_a_file() -> None:
    assert parse_database_url("sqlite:///var/app.db").database == "var/app.db"
    assert parse_database_url("sqlite:////srv/app.db").database == "/srv/app.db"


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://:memory:"])
def test_a_database_in_memory_is_refused(text: str) -> None:
    assert "sqlite:///var/app.db" in refuse(text)


def test_every_part_of_a_server_s_url_is_read() -> None:
    target = parse_database_url("postgresql://an%40na:p%2Fw%3F%40@db.example.com:6432/ac%20counts")
    assert (target.dialect, target.user, target.password, target.database) == (
        "postgresql",
        "an@na",
        "p/w?@",
        "ac counts",
    )
    assert target.hosts == (Host("db.example.com", 6432),)


@pytest.mark.parametrize(
    ("text", "dialect", "port"),
    [
        ("postgresql://h/d", "postgresql", 5432),
        ("postgresql+psycopg2://h/d", "postgresql", 5432),
        ("mysql://h/d", "mysql", 3306),
        ("mysql+pymysql://h/d", "mysql", 3306),
        ("mariadb://h/d", "mysql", 3306),
    ],
)
def test_the_scheme_chooses_dialect_and_port(text: str, dialect: str, port: int) -> None:
    target = parse_database_url(text)
    assert (target.dialect, target.hosts[0].port) == (dialect, port)


def test_the_scheme_that_other_tools_write_is_told_to_be_spelled_out() -> None:
    assert refuse(f"postgres://u:{PASSWORD}@h/d") == "postgresql:// instead of postgres://"


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_several_hosts_keep_their_order(scheme: str) -> None:
    target = parse_database_url(f"{scheme}://u:p@one:1111,[::1]:2222,%2Frun%2Fdb,127.0.0.1:3333/d")
    assert [host.name for host in target.hosts] == ["one", "::1", "/run/db", "127.0.0.1"]
    assert [host.is_local for host in target.hosts] == [False, True, True, True]
    assert target.hosts[1].port == 2222


def test_pool_settings_and_deadlines_are_parameters() -> None:
    query = "pool_size=7&max_overflow=0&pool_timeout=0.5&pool_recycle=60&connect_timeout=1.5&statement_timeout=2"
    for scheme in ("postgresql", "mysql"):
        target = parse_database_url(f"{scheme}://h/d?{query}")
        assert (target.pool_size, target.max_overflow, target.pool_timeout, target.pool_recycle) == (7, 0, 0.5, 60)
        assert (target.connect_timeout, target.statement_timeout) == (1.5, 2.0)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pool_sze=5", "did you mean pool_size?"),
        ("ssl-mode=disable", "did you mean sslmode?"),
        ("pool_size=5&pool_size=6", "pool_size once"),
        ("pool_size=0", "from 1 to 1000"),
        ("pool_size=five", "from 1 to 1000"),
        ("pool_size=", "from 1 to 1000"),
        ("pool_size=\u0665", "from 1 to 1000"),
        ("statement_timeout=30000", "seconds from 0.1 to 3600"),
        ("connect_timeout=-1", "seconds from 0.1 to 60"),
        ("sslmode=verify_full", "verify-full"),
        ("sslrootcert=/nowhere/ca.pem", "an existing file as sslrootcert"),
        ("options=-csearch_path%3Devil", "allowed are pool_size"),
        ("password=secret", "allowed are pool_size"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(query: str, expected: str) -> None:
    assert expected in refuse(f"postgresql://u:p@localhost/d?{query}")


def test_a_parameter_of_the_other_database_is_refused() -> None:
    assert "'ssl_ca'" in refuse("postgresql://u:p@localhost/d?ssl_ca=x")
    assert "'sslmode'" in refuse("mysql://u:p@localhost/d?sslmode=disable")
    assert "'statement_timeout'" in refuse("sqlite:///a.db?statement_timeout=1")


@pytest.mark.parametrize(
    "text",
    [
        f"postgres://u:{PASSWORD}@h/d",
        f"oracle://u:{PASSWORD}@h/d",
        f"u:{PASSWORD}@h/d",
        f"postgresql://u:{PASSWORD}@h",
        f"postgresql://u:{PASSWORD}@h/",
        f"postgresql://u:{PASSWORD}@h/d/e",
        f"postgresql://u:{PASSWORD}@h:99999/d",
        f"postgresql://u:{PASSWORD}@h:/d",
        f"postgresql://u:{PASSWORD}@,/d",
        f"postgresql://u:x/{PASSWORD}@h/d",
        f"postgresql://u:x?{PASSWORD}=1@h/d",
        f"postgresql://u:x?{PASSWORD}@h/d",
        f"postgresql://u:x@{PASSWORD}/y@h/d",
        f"postgresql://u:x@y?{PASSWORD}",
        f"postgresql://u:{PASSWORD}%ff@h/d",
        f"postgresql://u:{PASSWORD}%00@h/d",
        f"postgresql://u:{PASSWORD}\n@h/d",
        f"postgresql://u:{PASSWORD}\ud800@h/d",
        f"postgresql://u:{PASSWORD}@h/d?pool_size=x",
        f"postgresql://u:p@h/d?{PASSWORD}=1",
    ],
)
def test_no_message_holds_any_part_of_the_password(text: str) -> None:
    message = refuse(text)
    assert PASSWORD not in message
    assert "Wörd" not in message


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_password_that_would_become_a_port_and_a_database_is_told_to_be_encoded(scheme: str) -> None:
    # Read by its first slash, this names the host "u", the port 12 and the database "34@localhost".
    assert "/ as %2F" in refuse(f"{scheme}://u:12/34@localhost")


def test_a_target_does_not_print_its_password() -> None:
    target = parse_database_url(f"mysql://u:{PASSWORD}@h1,h2:3307/d")
    assert PASSWORD not in repr(target)
    assert str(target) == "mysql://u:***@h1:3306,h2:3307/d"


# --- encryption ---


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_where_encryption_is_required_a_remote_host_takes_a_word_about_it(scheme: str) -> None:
    words = {
        "postgresql": {
            "sslmode=disable": "disable",
            "sslmode=require": "require",
            "sslmode=verify-full": "verify-full",
        },
        "mysql": {"ssl=off": "disable", "ssl=unverified": "require", "ssl=on": "verify-full"},
    }[scheme]
    for hosts in ("db", "10.0.0.1", "[2001:db8::1]", "db1,db2", "localhost,db", "%2Frun%2Fdb,db"):
        assert parse_database_url(f"{scheme}://u:p@{hosts}/d").tls_mode == "prefer"
        message = refuse(f"{scheme}://u:{PASSWORD}@{hosts}/d", require_tls=True)
        assert all(word in message for word in list(words)[::2])
        assert PASSWORD not in message
        for word, mode in words.items():
            assert parse(f"{scheme}://u:p@{hosts}/d?{word}", require_tls=True).tls_mode == mode


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("hosts", ["localhost", "127.0.0.1", "[::1]", "%2Frun%2Fdb", "127.0.0.1:1,[::1]:2,localhost:3"])
def test_where_encryption_is_required_this_machine_is_free(scheme: str, hosts: str) -> None:
    assert parse(f"{scheme}://u:p@{hosts}/d", require_tls=True).tls_mode == "prefer"


def test_encrypting_only_if_the_server_likes_is_refused_where_encryption_is_required() -> None:
    assert "sslmode=disable" in refuse("postgresql://u:p@db/d?sslmode=prefer", require_tls=True)


def test_naming_a_ca_means_verifying_chain_and_host_name(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    for url in (f"postgresql://db/d?sslrootcert={ca}", f"mysql://db/d?ssl_ca={ca}"):
        target = parse_database_url(url)
        assert (target.tls_mode, target.tls_ca) == ("verify-full", str(ca))
    assert parse_database_url(f"mysql://db/d?ssl_ca={ca}&ssl_verify_identity=false").tls_mode == "verify-ca"
    assert parse_database_url("mysql://db/d?ssl=on").tls_mode == "verify-full"
    assert parse_database_url("mysql://db/d?ssl=unverified").tls_mode == "require"


def test_contradictions_about_encryption_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text("x")
    assert "not both" in refuse(f"postgresql://db/d?sslmode=disable&sslrootcert={file}")
    assert "not both" in refuse(f"mysql://db/d?ssl=off&ssl_ca={file}")
    assert "not both" in refuse("mysql://db/d?ssl=off&ssl_verify_identity=true")
    assert "not both" in refuse(f"mysql://db/d?ssl=unverified&ssl_ca={file}")
    assert "both or neither of sslcert and sslkey" in refuse(f"postgresql://db/d?sslcert={file}")
    assert "both or neither of ssl_cert and ssl_key" in refuse(f"mysql://db/d?ssl_key={file}")
    assert "sslrootcert" in refuse("postgresql://db/d?sslmode=verify-ca")
    assert "ssl_ca" in refuse("mysql://db/d?ssl_verify_identity=false")
