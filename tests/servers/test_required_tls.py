"""What a server in production that needs its database encrypted does: start, or say what is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from app.config import ROOT
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers import mariadb, postgres
from gatehouse.testing.servers.product import Product

from .conftest import MARIADB, POSTGRES
from .test_tls import CA_PARAMETER, make_tls_server

if TYPE_CHECKING:
    from pathlib import Path

    from .harness.tls import Authority

PRODUCTION = TEST_ENVIRON | {
    "APP_ENV": "production",
    "ALLOWED_HOSTS": "127.0.0.1",
    "SHUTDOWN_DELAY": "0",
    "WORKERS": "1",
}
# An address of this machine that is not told from another machine's name: inet_aton's short form of 127.0.0.1.
REMOTE = "127.1"
ENCRYPTED = {"postgresql": "sslmode=verify-full", "mariadb": "ssl=on"}
UNVERIFIED = {"postgresql": "sslmode=require", "mariadb": "ssl=unverified"}
CLEAR = {"postgresql": "sslmode=disable", "mariadb": "ssl=off"}
CHAIN = {"postgresql": "sslmode=verify-ca", "mariadb": "ssl_verify_identity=false"}
PASSWORDS = [postgres.PASSWORD, postgres.URL_PASSWORD, mariadb.PASSWORD, mariadb.URL_PASSWORD]


def run(*command: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=Product(environ, folder=folder).environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def add(url: str, word: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{word}"


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_production_starts_with_a_word_about_encryption_and_names_it_where_it_is_missing(
    name: str, authority: Authority, tmp_path: Path
) -> None:
    with make_tls_server(name, authority.issue("server")) as server:
        local = server.make_url()
        remote = local.replace("@127.0.0.1:", f"@{REMOTE}:")
        several = local.replace("@127.0.0.1:", f"@127.0.0.1:{server.port},{REMOTE}:")
        setup = run(
            "-m", "flask", "--app", "run", "setup", environ=PRODUCTION | {"DATABASE_URL": local}, folder=tmp_path
        )
        assert setup.returncode == 0, setup.stderr
        for url in (remote, several):
            for command in (("run.py",), ("-m", "flask", "--app", "run", "setup")):
                refused = run(*command, environ=PRODUCTION | {"DATABASE_URL": url}, folder=tmp_path)
                assert refused.returncode == 1
                assert "DATABASE_URL: expected encryption" in refused.stderr
                assert ENCRYPTED[name] in refused.stderr
                assert CLEAR[name] in refused.stderr
                assert not [secret for secret in PASSWORDS if secret in refused.stdout + refused.stderr]
        chain = f"{CHAIN[name]}&{CA_PARAMETER[name]}={authority.path}"
        for url in (
            local,
            add(remote, UNVERIFIED[name]),
            add(remote, chain),
            add(remote, CLEAR[name]),
            add(several, UNVERIFIED[name]),
        ):
            with Product(PRODUCTION | {"DATABASE_URL": url}, folder=tmp_path):
                pass  # It serves, and /readyz says that the database answers.


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_production_never_falls_back_to_plain_text(name: str, tmp_path: Path) -> None:
    with make_tls_server(name, None) as server:
        url = add(server.make_url().replace("@127.0.0.1:", f"@{REMOTE}:"), UNVERIFIED[name])
        refused = run(
            "-m", "flask", "--app", "run", "setup", environ=PRODUCTION | {"DATABASE_URL": url}, folder=tmp_path
        )
        assert refused.returncode == 1
        assert not server.administrate("SELECT 1 FROM information_schema.tables WHERE table_name = 'audit_entries'")
