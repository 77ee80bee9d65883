"""The command line as a process of its own, from another folder and with a bare environment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.migrations import find_revisions
from app.database.locks import hold_lock
from app.extensions import db
from app.services import admins, users
from app.services.accounts import hash_new_password
from app.services.setup import make_first_admin
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import PASSWORD, Browser
from tests.cli.conftest import Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def empty(tmp_path: Path, database_kind: str, make_database: Callable[..., str]) -> dict[str, str]:
    """Settings with a database that has no tables; an SQLite file does not even have a folder."""
    is_file = database_kind == "sqlite"
    url = f"sqlite:///{tmp_path}/new/app.db" if is_file else make_database(is_migrated=False)
    return TEST_ENVIRON | {"DATABASE_URL": url, "LOG_LEVEL": "INFO"}


def flask(*args: str, cwd: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("COV")}
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", str(ROOT / "run.py"), *args],
        cwd=cwd,
        env=bare | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_setup_from_another_folder_makes_all_that_the_doctor_asks_for(tmp_path: Path, empty: dict[str, str]) -> None:
    first = flask("setup", "--json", cwd=tmp_path, environ=empty)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["upgraded"]
    assert report["admin"]["email"] == "root@example.com"
    again = flask("setup", cwd=tmp_path, environ=empty)
    assert again.stdout == "The database is up to date.\n"
    assert again.stderr == ""
    doctor = flask("doctor", cwd=tmp_path, environ=empty)
    assert doctor.returncode == 0, doctor.stdout
    assert doctor.stdout.endswith("All is well.\n")


@pytest.mark.only_on("sqlite", reason="how the application is found has nothing to do with the database")
def test_in_the_project_s_folder_a_command_needs_no_word_on_the_application(empty: dict[str, str]) -> None:
    command = [sys.executable, "-m", "flask"]
    source = "print(db.engine.dialect.name, User.__tablename__)\n"
    for words, expected in ((["--help"], "\n  doctor "), (["shell"], "sqlite users")):
        done = subprocess.run(
            [*command, *words],
            cwd=ROOT,
            env=empty,
            input=source,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert expected in done.stdout


@pytest.mark.only_on("sqlite", reason="a port has nothing to do with the database")
def test_a_port_in_use_is_one_line_that_names_it_before_anything_else_happens(
    tmp_path: Path, empty: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        environ = empty | {"HOST": "127.0.0.1", "PORT": port}
        setup = flask("setup", "--check-address", cwd=tmp_path, environ=environ)
        served = subprocess.run(
            [sys.executable, "run.py"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
    line = f"Port {port} of 127.0.0.1 is in use. Stop what listens there, or set PORT to another one.\n"
    assert (setup.returncode, setup.stdout, setup.stderr) == (1, "", f"Error: {line}")
    assert (served.returncode, served.stdout, served.stderr) == (1, "", line)
    assert "--check-address" in (ROOT / "scripts" / "run.sh").read_text()
    assert not (tmp_path / "new" / "app.db").exists()


def test_two_setups_at_once_make_one_database_with_one_administrator(tmp_path: Path, empty: dict[str, str]) -> None:
    with ThreadPoolExecutor() as threads:
        runs = list(threads.map(lambda _: flask("setup", "--json", cwd=tmp_path, environ=empty), range(3)))
    assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    assert len([run for run in runs if json.loads(run.stdout)["admin"]]) == 1
    listed = json.loads(flask("user", "list", "--json", cwd=tmp_path, environ=empty).stdout)
    assert [user["roles"] for user in listed["items"]] == [["admin", "user"]]


@pytest.mark.no_database
def test_wrong_settings_are_named_by_the_doctor_and_stop_everything_else(tmp_path: Path, empty: dict[str, str]) -> None:
    wrong = empty | {"PORT": "none", "SECRET_KEY": "short-secret", "LOG_LEVEL": "\x1b[2J"}
    doctor = flask("doctor", "--json", cwd=tmp_path, environ=wrong)
    assert doctor.returncode == 1
    faults = [each for each in json.loads(doctor.stdout)["findings"] if each["status"] == "fault"]
    assert [fault["message"].partition(":")[0] for fault in faults] == ["SECRET_KEY", "LOG_LEVEL", "PORT"]
    for args in (("user", "list"), ("setup",), ("run", "--port", "1"), ("db", "current")):
        other = flask(*args, cwd=tmp_path, environ=wrong)
        assert other.returncode == 1
        assert other.stdout == ""
        assert "PORT: expected a whole number" in other.stderr
        assert "Traceback" not in other.stderr
        assert "short-secret" not in other.stderr + doctor.stdout + doctor.stderr
        assert "\x1b" not in other.stderr


def test_a_made_up_password_is_shown_in_a_frame_and_signs_in(
    make_app: Callable[..., Flask], make_database: Callable[..., str]
) -> None:
    app = make_app(DATABASE_URL=make_database(is_migrated=False))
    output = Operator(app).run("setup").stdout
    (line,) = [line for line in output.splitlines() if "Password:" in line]
    body = {"email": "root@example.com", "password": line.strip("| ").removeprefix("Password:").strip()}
    assert Browser(app).post("/api/v1/auth/login", body).status_code == 200
    assert "Password:" not in Operator(app).run("setup").stdout


def test_a_given_password_is_not_repeated(make_app: Callable[..., Flask]) -> None:
    operator = Operator(make_app(ADMIN_PASSWORD=PASSWORD))
    assert operator.do("setup")["admin"] == {"email": "root@example.com", "password": None}
    assert PASSWORD not in operator.run("setup").output


def test_a_weak_password_for_the_administrator_is_named_by_its_setting(make_app: Callable[..., Flask]) -> None:
    assert Operator(make_app(ADMIN_PASSWORD="short")).fail("setup").startswith("ADMIN_PASSWORD: ")


def test_without_an_address_for_the_administrator_setup_says_how_to_make_one(environ: dict[str, str]) -> None:
    from app import create_app  # noqa: PLC0415
    from app.config import Settings  # noqa: PLC0415

    del environ["ADMIN_EMAIL"]
    production = {"APP_ENV": "production", "ALLOWED_HOSTS": "localhost"}
    app = create_app(Settings.from_environ(environ | production))
    assert "There is no administrator yet." in Operator(app).run("setup").stdout
    app.extensions["database"].kw["bind"].dispose()


def test_a_setup_that_dies_between_user_and_role_leaves_neither(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_name: str) -> Any:
        raise KeyboardInterrupt

    with app.app_context():
        with monkeypatch.context() as patch:
            patch.setattr("app.services.setup.read_role", die)
            with pytest.raises(KeyboardInterrupt):
                make_first_admin()
        assert users.count_users() == 0
        assert make_first_admin() is not None
        assert admins.has_active_admin()


def test_migrations_wait_for_whoever_applies_them_already(
    make_app: Callable[..., Flask], make_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(DATABASE_URL=make_database(is_migrated=False))
    monkeypatch.setattr("app.database.locks.WAIT_SECONDS", 0)
    with app.app_context(), hold_lock(db.engine, "migrations"):
        assert Operator(app).fail("setup").startswith("Another process has been at it")
    assert Operator(app).do("setup")["upgraded"]


def test_of_two_setups_the_later_makes_no_administrator(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def be_overtaken(*args: Any, **kwargs: Any) -> str:
        monkeypatch.undo()
        assert make_first_admin() is not None
        return hash_new_password(*args, **kwargs)

    with app.app_context():
        monkeypatch.setattr("app.services.setup.hash_new_password", be_overtaken)
        assert make_first_admin() is None
        assert users.count_users() == 1


def test_the_database_of_the_tests_is_at_the_last_migration(app: Flask) -> None:
    with app.app_context():
        assert find_revisions().is_current
