"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.doctor import check_files
from app.database import parse_database_url
from app.extending.tables import PROGRESS_TABLE as TABLE
from app.extensions import db
from gatehouse.testing.servers.redis import find_free_port, running
from tests.cli.conftest import Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.factories import Factory

PRODUCTION = {
    "PUBLIC_URL": "https://accounts.example.com",
    "ALLOWED_HOSTS": "accounts.example.com",
    "SESSION_COOKIE_SECURE": "true",
    "TRUSTED_PROXIES": "1",
    "RATELIMIT_ENABLED": "true",
}


def examine(app: Flask) -> tuple[int, dict[str, str]]:
    """Return the doctor's exit code, and the status of each thing that is not well."""
    result = Operator(app).run("doctor", "--json")
    report = json.loads(result.stdout)
    assert report["healthy"] == (result.exit_code == 0)
    ill = [finding for finding in report["findings"] if finding["status"] != "ok"]
    assert all(finding["remedy"] for finding in ill)
    return result.exit_code, {finding["check"]: finding["status"] for finding in ill}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the developer's own is looked at."""
    monkeypatch.setattr("app.cli.doctor.check_files", lambda: iter(()))
    monkeypatch.chdir(tmp_path)


def test_a_healthy_installation_is_all_well(make_app: Callable[..., Flask], factory: Factory) -> None:
    factory.admin()
    assert examine(make_app(**PRODUCTION)) == (0, {})
    assert "All is well." in Operator(make_app(**PRODUCTION)).run("doctor").stdout


@pytest.mark.parametrize(
    ("changes", "check", "status"),
    [
        ({"PUBLIC_URL": "http://accounts.example.com"}, "PUBLIC_URL", "fault"),
        ({"PUBLIC_URL": "http://accounts.example.com", "SESSION_COOKIE_SECURE": "false"}, "PUBLIC_URL", "fault"),
        ({"SESSION_COOKIE_SECURE": "false"}, "SESSION_COOKIE_SECURE", "fault"),
        ({"ALLOWED_HOSTS": "www.example.com"}, "ALLOWED_HOSTS", "fault"),
        ({"WORKERS": "2"}, "RATELIMIT_STORAGE_URI", "fault"),
        ({"RATELIMIT_ENABLED": "false"}, "RATELIMIT_ENABLED", "warning"),
        ({"TRUSTED_PROXIES": "0"}, "TRUSTED_PROXIES", "warning"),
        ({"ADMIN_PASSWORD": "turnip lantern gravel osprey"}, "ADMIN_PASSWORD", "warning"),
    ],
)
def test_settings_that_go_wrong_together_are_found(
    make_app: Callable[..., Flask], factory: Factory, changes: dict[str, str], check: str, status: str
) -> None:
    factory.admin()
    code, ill = examine(make_app(**PRODUCTION | changes))
    assert ill == {check: status}
    assert code == (1 if status == "fault" else 0)


def test_nobody_who_can_administer_is_a_fault(app: Flask, factory: Factory) -> None:
    factory.user()
    assert examine(app)[1]["administrator"] == "fault"


@pytest.mark.only_on("sqlite", reason="it is about a file")
def test_a_database_that_is_not_there_is_a_fault_and_is_not_made(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    path = tmp_path / "none.db"
    code, ill = examine(make_app(DATABASE_URL=f"sqlite:///{path}"))
    assert code == 1
    assert ill["database"] == "fault"
    assert not path.exists()


@pytest.mark.only_on("sqlite", reason="it is about a file")
def test_a_file_that_others_can_read_or_nobody_can_write_to_is_a_fault(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.admin()
    with app.app_context():
        path = Path(db.engine.url.database or "")
    path.chmod(0o640)
    assert examine(app)[1]["database file"] == "fault"
    path.chmod(0o600)
    assert "database file" not in examine(app)[1]
    # For root every file can be written to, unless the whole file system is read-only.
    monkeypatch.setattr("app.cli.doctor.os.access", lambda where, _mode: where != path.parent)
    assert examine(app)[1]["database file"] == "fault"


@pytest.mark.only_on("sqlite", reason="it is about a file")
def test_a_database_that_does_not_answer_is_a_fault(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_text("this is no database, only text that is long enough to be looked at" * 20)
    code, ill = examine(make_app(DATABASE_URL=f"sqlite:///{path}"))
    assert code == 1
    assert ill["database"] == "fault"


def test_a_database_without_its_migrations_is_a_fault(
    make_app: Callable[..., Flask], make_database: Callable[..., str]
) -> None:
    code, ill = examine(make_app(DATABASE_URL=make_database(is_migrated=False)))
    assert code == 1
    assert ill["migrations"] == "fault"


def test_a_migration_that_ended_half_way_is_a_fault(app: Flask) -> None:
    def execute(*statements: str) -> None:
        with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()

    execute(
        f"CREATE TABLE {TABLE} (revision VARCHAR(32) PRIMARY KEY, is_upgrade INTEGER)",
        f"INSERT INTO {TABLE} VALUES ('0002', 1)",  # noqa: S608 - our own name
    )
    try:
        report = Operator(app).run("doctor", "--json")
    finally:
        execute(f"DROP TABLE {TABLE}")
    assert report.exit_code == 1
    assert "schema_interrupted" in {finding["code"] for finding in json.loads(report.stdout)["findings"]}


def test_a_store_that_nobody_has_asked_yet_and_does_not_answer_is_a_fault(
    make_app: Callable[..., Flask], factory: Factory
) -> None:
    factory.admin()
    uri = f"redis://127.0.0.1:{find_free_port()}"
    assert examine(make_app(**PRODUCTION, RATELIMIT_STORAGE_URI=uri)) == (1, {"rate limits": "fault"})


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "allkeys-lru"])
def test_a_store_that_evicts_windows_is_a_warning(
    make_app: Callable[..., Flask], factory: Factory, policy: str
) -> None:
    factory.admin()
    with running("--maxmemory-policy", policy) as server, server.client() as client:
        app = make_app(**PRODUCTION, RATELIMIT_STORAGE_URI=f"redis://127.0.0.1:{server.port}")
        assert examine(app) == (0, {})
        client.config_set("maxmemory", 100_000_000)
        assert examine(app) == (0, {} if policy == "noeviction" else {"rate limits": "warning"})


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("postgresql://u:p@db.example:5432/app", True),
        ("postgresql://u:p@db.example/app?sslmode=require", True),
        ("postgresql://u:p@db.example/app?sslmode=verify-full", False),
        ("postgresql://u:p@127.0.0.1:5432,localhost:5433/app", False),
        ("postgresql://u:p@127.0.0.1:5432,db.example:5433/app", True),
        ("mysql://u:p@db.example/app", True),
        ("mysql://u:p@db.example/app?ssl_ca={ca}", False),
        ("postgresql://u:p@[::1]:5432/app", False),
    ],
)
def test_a_way_to_the_database_that_is_not_verified_is_a_warning(
    app: Flask, factory: Factory, tmp_path: Path, url: str, *, is_warned: bool
) -> None:
    factory.admin()
    (tmp_path / "ca.pem").touch()
    url = url.format(ca=tmp_path / "ca.pem")
    app.extensions["settings"] = dataclasses.replace(app.extensions["settings"], database_url=parse_database_url(url))
    assert ("database TLS" in examine(app)[1]) == is_warned


def find(**places: Any) -> dict[str, str]:
    return {finding.check: finding.status for finding in check_files(**places)}


def test_files_with_secrets_that_others_can_read_are_found(tmp_path: Path) -> None:
    root, var = tmp_path / "root", tmp_path / "var"
    root.mkdir()
    var.mkdir()
    assert find(root=root, var=var) == {}
    for path in (var / "secret_key", root / ".env"):
        path.touch(mode=0o644)
    assert find(root=root, var=var) == {"secret key file": "fault", ".env": "warning"}
    (var / "secret_key").chmod(0o600)
    (root / ".env").chmod(0o600)
    assert find(root=root, var=var) == {"secret key file": "ok"}


def test_a_dotenv_of_another_project_that_flask_would_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLASK_SKIP_DOTENV", raising=False)
    (tmp_path / ".env").touch(mode=0o600)
    assert find(root=tmp_path, var=tmp_path) == {}
    assert find(root=tmp_path / "root", var=tmp_path) == {".env": "warning"}
    monkeypatch.setenv("FLASK_SKIP_DOTENV", "1")
    assert find(root=tmp_path / "root", var=tmp_path) == {}
