"""The `.env` blocks of docs/database.md, each tried by starting the product with it against real servers."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dotenv import dotenv_values

from app.config import ROOT
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers import mariadb, postgres
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres
from gatehouse.testing.servers.processes import find_program
from gatehouse.testing.servers.product import Product

from .test_tls import make_tls_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Server
    from .harness.tls import Authority

PAGE = (ROOT / "docs" / "database.md").read_text()
BLOCKS = [
    {name: value or "" for name, value in dotenv_values(stream=StringIO(block)).items()}
    for block in re.findall(r"```env\n(.*?)```", PAGE, re.DOTALL)
]
SERVICES = [yaml.safe_load(block)["services"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
PLACE = re.compile(r"(?<=@)[^/]+(?=/)")
# inet_aton's short form of 127.0.0.1: it leads to this machine, and is not told from another machine's name.
REMOTE = "127.1"
ENCRYPTING = {"postgresql": ("sslmode=verify", "sslrootcert"), "mysql": ("ssl=on", "ssl_ca")}


def find_scheme(block: dict[str, str]) -> str:
    return block["DATABASE_URL"].partition(":")[0]


def mark(block: dict[str, str]) -> pytest.MarkDecorator | tuple[()]:
    names = {"postgresql": "postgresql", "mysql": "mariadb"}
    return pytest.mark.server(names[find_scheme(block)]) if find_scheme(block) in names else ()


@contextlib.contextmanager
def serve(block: dict[str, str], authority: Authority) -> Iterator[str]:
    """Start the servers that a block speaks of, and yield its URL with their places in it."""
    url = block["DATABASE_URL"]
    place = PLACE.search(url)
    assert place is not None
    is_postgres = find_scheme(block) == "postgresql"
    is_encrypted = any(word in url for word in ENCRYPTING[find_scheme(block)])
    with contextlib.ExitStack() as stack:
        server: Any  # mypy takes what they have in common
        if place[0].startswith("%2F"):
            if is_postgres:
                server = stack.enter_context(Postgres(unix_socket_directories="."))
                server.allow("scram-sha-256", address="")
                server.reload()
                new = f"{server.data}:{server.port}".replace("/", "%2F")
            else:
                server = stack.enter_context(MariaDb(character_set_server="utf8mb4"))
                new = str(server.socket).replace("/", "%2F")
        else:
            settings = {} if is_postgres else {"character_set_server": "utf8mb4"}
            certificate = authority.issue("server") if is_encrypted else None
            name = "postgresql" if is_postgres else "mariadb"
            server = stack.enter_context(make_tls_server(name, certificate, settings=settings))
            servers = [server]
            if "," in place[0]:
                servers.insert(0, stack.enter_context(make_standby(server, certificate is not None, authority)))
            host = "localhost" if is_encrypted or "localhost" in place[0] else REMOTE
            new = ",".join(f"{host}:{each.port}" for each in servers)
        url = PLACE.sub(lambda _: new, url)
        password = postgres.URL_PASSWORD if is_postgres else mariadb.URL_PASSWORD
        yield url.replace(":secret@", f":{password}@").replace("/etc/ssl/our-ca.pem", str(authority.path))


def make_standby(server: Server, is_encrypted: bool, authority: Authority) -> Server:  # noqa: FBT001 - the only one
    if isinstance(server, Postgres):
        return server.make_standby()
    certificate = authority.issue("server") if is_encrypted else None
    return make_tls_server("mariadb", certificate, settings={"character_set_server": "utf8mb4", "read_only": "1"})


@pytest.mark.parametrize(
    "block", [pytest.param(block, marks=mark(block), id=block["DATABASE_URL"]) for block in BLOCKS]
)
def test_the_product_starts_with_what_the_page_shows(
    block: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        if find_scheme(block) == "sqlite":
            url = block["DATABASE_URL"].replace("var/", f"{tmp_path}/")
        else:
            url = stack.enter_context(serve(block, authority))
        environ = block | {"DATABASE_URL": url}
        if "APP_ENV" in block:
            # A password and a host.
            assert block["SECRET_KEY"] == "secret"
            environ |= {"SECRET_KEY": TEST_ENVIRON["SECRET_KEY"], "ALLOWED_HOSTS": "127.0.0.1,accounts.example.com"}
            environ |= {"SHUTDOWN_DELAY": "0", "WORKERS": "1", "ADMIN_EMAIL": "root@example.com"}
        else:
            environ |= {"SECRET_KEY": TEST_ENVIRON["SECRET_KEY"]}
        product = Product(environ, folder=tmp_path)
        command = [sys.executable, "-m", "flask", "--app", "run"]
        subprocess.run([*command, "setup"], cwd=ROOT, env=product.environ, check=True, capture_output=True)
        with product:
            pass  # It serves, and /readyz says that the database answers and takes writes.
        doctor = subprocess.run(
            [*command, "doctor", "--json"], cwd=ROOT, env=product.environ, check=False, capture_output=True
        )
        findings = json.loads(doctor.stdout)["findings"]
        ill = {finding["code"] for finding in findings if finding["status"] != "ok" and "database" in finding["check"]}
        assert ill <= {"tls_disable"}
        assert doctor.returncode == 0, findings


def test_the_page_shows_every_kind_of_place_for_each_database() -> None:
    for scheme in ("postgresql", "mysql"):
        urls = [block["DATABASE_URL"] for block in BLOCKS if find_scheme(block) == scheme]
        kinds = (r"@localhost:", r"@%2F", r"@db:.*(disable|off)$", r"@db\.", r"@db1\.[^/]*,db2\.")
        assert [kind for kind in kinds if not any(re.search(kind, url) for url in urls)] == []


@pytest.mark.parametrize("services", SERVICES)
def test_the_services_of_the_page_agree_with_its_blocks(services: dict[str, dict[str, object]]) -> None:
    assert "db" in services
    assert {"image", "environment", "healthcheck", "volumes"} <= set(services["db"])
    # The name of the service is the host.
    assert [block for block in BLOCKS if "@db:" in block["DATABASE_URL"]]


@pytest.mark.parametrize(
    ("index", "port"),
    [
        pytest.param(0, "5432", marks=pytest.mark.server("postgresql")),
        pytest.param(1, "3306", marks=pytest.mark.server("mariadb")),
    ],
)
def test_the_health_checks_of_the_page_tell_a_server_that_is_up(index: int, port: str) -> None:
    words = SERVICES[index]["db"]["healthcheck"]["test"]
    assert words[0] == "CMD"
    program = find_program(words[1], "/usr/lib/postgresql/*/bin")
    assert program is not None

    def check(server: Server) -> int:
        command = [str(program), *(str(server.port) if word == port else word for word in words[2:])]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode

    with Postgres() if index == 0 else MariaDb() as server:
        assert check(server) == 0
        server.stop()
        assert check(server) != 0
