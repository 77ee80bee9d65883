"""Exporting all accounts from one system and importing them into another."""

from __future__ import annotations

import csv
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.cli.rows import WRITERS
from app.extensions import db
from app.security import Actor
from app.services import audit, imports, users
from app.services.imports import ImportedUser, ImportRefused
from gatehouse.testing.factories import PASSWORD, Browser
from tests.cli.conftest import Operator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

    from app.services.users import ListedUser
    from gatehouse.testing.factories import Factory

BCRYPT = "$2b$04$r1jLEaJHWRouR7DuusIGaeJ.TSbKCkfYaPSi1sl.AC6C01ivvCcja"
DJANGO = "pbkdf2_sha256$1000$seasaltseasalt$NedxMDuJzwAKT7oxK0Z/l3X6Vyl0WXEn3XVr3cI0sz4="
HARMFUL = BCRYPT.replace("$04$", "$31$")


def write_lines(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def find_user(app: Flask, email: str) -> ListedUser:
    with app.app_context():
        return users.list_users(limit=1, q=email, with_hashes=True).items[0]


def list_emails(operator: Operator) -> list[str]:
    return [each["email"] for each in operator.do("user", "list")["items"]]


def read_faults(operator: Operator, *args: str) -> list[tuple[int, str]]:
    """Run an import that is refused; return where the faults are."""
    result = operator.run("user", "import", *args, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["imported"] == 0
    return [(fault["line"], fault["field"]) for fault in report["faults"]]


@pytest.mark.parametrize("stored", [BCRYPT, DJANGO], ids=["bcrypt", "django"])
def test_an_imported_hash_lets_its_owner_in_and_is_renewed_by_that(
    app: Flask, operator: Operator, tmp_path: Path, stored: str
) -> None:
    file = write_lines(tmp_path / "users.jsonl", {"email": "Ada@Example.com", "name": "Ada", "password_hash": stored})
    assert operator.do("user", "import", file)["imported"] == 1
    assert find_user(app, "ada").password_hash == stored
    body = {"email": "ada@example.com", "password": PASSWORD + "x"}
    assert Browser(app).post("/api/v1/auth/login", body).status_code == 401
    assert find_user(app, "ada").password_hash == stored
    body["password"] = PASSWORD
    for _ in range(2):
        assert Browser(app).post("/api/v1/auth/login", body).status_code == 200
        assert (find_user(app, "ada").password_hash or "").startswith("$argon2id$")


def test_a_csv_file_is_imported_with_roles_and_an_audit_entry_each(
    app: Flask, operator: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "users.csv"
    file.write_text(
        "\ufeffemail,name,password_hash,is_active,roles,created_at\r\n"
        f'ada@example.com,"Lovelace, Ada",{BCRYPT},true,user;admin,2020-01-02T03:04:05Z\r\n'
        "\r\n"
        "bob@example.com,,,false,,\r\n"
        "cy@example.com,,!unusable,,,\r\n"
    )
    assert operator.do("user", "import", str(file))["imported"] == 3
    ada, bob, cy = operator.do("user", "list")["items"]
    assert ada["name"] == "Lovelace, Ada"
    assert ada["roles"] == ["admin", "user"]
    assert ada["created_at"] == "2020-01-02T03:04:05Z"
    assert not bob["is_active"]
    assert bob["roles"] == cy["roles"] == ["user"]
    assert find_user(app, "cy").password_hash is None
    with app.app_context():
        entries = audit.list_entries(limit=10, action="user.imported").items
    assert {entry.target for entry in entries} == {ada["id"], bob["id"], cy["id"]}


@pytest.mark.parametrize("name", ["users.jsonl", "users.csv"])
def test_what_was_exported_is_imported_elsewhere_as_it_was(
    name: str,
    operator: Operator,
    factory: Factory,
    tmp_path: Path,
    make_app: Callable[..., Flask],
    make_database: Callable[..., str],
) -> None:
    factory.admin(email="ada@example.com", name="Ada \u017d\u00f3")
    factory.user(email="bob@example.com", name='=HYPERLINK("https://example.com", "Bob")', password=None)
    factory.user(email="+eve@example.com", name='\'- \\ "Eve", 1', password=None)
    operator.do("user", "deactivate", "bob@example.com")
    file = str(tmp_path / name)
    assert operator.do("user", "export", file, "--with-hashes") == {
        "file": file,
        "count": 3,
        "with_hashes": True,
        "left_out": [],
    }
    other = Operator(make_app(DATABASE_URL=make_database()))
    assert other.do("user", "import", file)["imported"] == 3
    assert other.do("user", "list") == operator.do("user", "list")
    assert find_user(other.app, "ada").password_hash == find_user(operator.app, "ada").password_hash


def test_a_csv_export_is_one_that_no_spreadsheet_computes_with(
    operator: Operator, factory: Factory, tmp_path: Path
) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20A1"]
    for formula in formulas:
        factory.user(name=formula, password=None)
    file = tmp_path / "users.csv"
    operator.do("user", "export", str(file))
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    assert [row["name"] for row in rows] == [f"'{formula}" for formula in formulas]
    assert {row["is_active"] for row in rows} == {"true"}
    assert "password_hash" not in rows[0]
    assert operator.run("user", "export", "-", "--format", "csv").stdout.splitlines()[0] == ",".join(rows[0])


def test_an_export_holds_hashes_only_if_asked_and_is_its_owners_alone(
    app: Flask, operator: Operator, factory: Factory, tmp_path: Path
) -> None:
    factory.user(email="ada@example.com")
    file = tmp_path / "users.jsonl"
    file.write_text("an older export")
    operator.do("user", "export", str(file))
    assert "password_hash" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    operator.do("user", "export", str(file), "--with-hashes")
    assert json.loads(file.read_text())["password_hash"].startswith("$argon2id$")
    with app.app_context():
        found = audit.list_entries(limit=10, action="users.exported").items
    assert [entry.details["with_hashes"] for entry in found] == [True, False]


def test_an_export_to_standard_output_is_lines_and_nothing_else(operator: Operator, factory: Factory) -> None:
    factory.user(email="ada@example.com")
    for options in ([], ["--json"]):
        result = operator.run("user", "export", "-", *options)
        assert result.exit_code == 0
        assert [json.loads(line)["email"] for line in result.stdout.splitlines()] == ["ada@example.com"]


def test_an_export_that_fails_leaves_the_older_one(
    operator: Operator, factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.user()
    file = tmp_path / "exports" / "users.jsonl"
    file.parent.mkdir()
    file.write_text("an older export")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(WRITERS, "jsonl", lambda *_arguments: fail)
    assert operator.fail("user", "export", str(file)) == "No space left on device"
    assert file.read_text() == "an older export"
    assert list(file.parent.iterdir()) == [file]


def test_the_name_of_a_file_cannot_reach_the_terminal(operator: Operator, tmp_path: Path) -> None:
    result = operator.run("user", "export", str(tmp_path / "a\x1b[2Jb"))
    assert result.exit_code == 0
    assert r"a\x1b[2Jb" in result.stdout
    assert r"a\x1b[2Jb" in operator.fail("user", "import", str(tmp_path / "\x1b" / "a\x1b[2Jb"), "--format", "csv")


def test_an_export_walks_every_page(
    operator: Operator, factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.users.EXPORT_PAGE", 2)
    for _ in range(5):
        factory.user(password=None)
    assert operator.do("user", "export", str(tmp_path / "users.jsonl"))["count"] == 5


def test_every_faulty_line_is_named_and_nothing_is_imported(
    operator: Operator, factory: Factory, tmp_path: Path
) -> None:
    taken = factory.user(email="taken@example.com")
    file = write_lines(
        tmp_path / "users.jsonl",
        {"email": "good@example.com"},
        {"email": "nobody"},
        "{not json",
        '{"email": "a@example.com", "email": "b@example.com"}',
        "[1]",
        {"name": "without an address"},
        {"email": "taken@example.com"},
        {"email": "GOOD@example.com"},
        {"email": "c@example.com", "roles": ["pilot", "user"]},
        {"email": "d@example.com", "password_hash": HARMFUL},
        {"email": "e@example.com", "password_hash": "5f4dcc3b5aa765d61d8327deb882cf99"},
        {"email": "f@example.com", "is_superuser": True},
        {"email": "g@example.com", "name": "a\x1b[2Jb"},
        {"email": "h@example.com", "name": "n" * 201},
        {"email": "i@example.com", "is_active": "perhaps"},
        {"email": "j@example.com", "created_at": "yesterday"},
        {"email": "k@example.com", "created_at": "2020-01-01T00:00:00"},
        {"email": "l@example.com", "id": str(taken.id)},
        {"email": "m@example.com", "mfa_enabled": True},
        {"email": "n@example.com", "name": None},
        '{"email": "o@example.com", "name": "\\ud800"}',
        "[" * 100_000,
        {"email": 5},
    )
    assert read_faults(operator, file) == [
        (2, "email"),
        (3, "line"),
        (4, "line"),
        (5, "line"),
        (6, "email"),
        (7, "email"),
        (8, "email"),
        (9, "roles"),
        (10, "password_hash"),
        (11, "password_hash"),
        (12, "is_superuser"),
        (13, "name"),
        (14, "name"),
        (15, "is_active"),
        (16, "created_at"),
        (17, "created_at"),
        (18, "id"),
        (19, "mfa_enabled"),
        (20, "name"),
        (21, "name"),
        (22, "line"),
        (23, "email"),
    ]
    assert list_emails(operator) == ["taken@example.com"]
    result = operator.run("user", "import", file)
    assert result.exit_code == 1
    assert "line 2: email: This is not an e-mail address." in result.stderr
    assert result.stderr.splitlines()[-1].endswith("22 lines are wrong; nothing was imported.")
    assert result.stdout == ""


def test_faults_of_a_csv_file_are_named_by_the_line_they_begin_on(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_bytes(
        b"email,name\n"
        b'ada@example.com,"two\nlines"\n'
        b"bob@example.com\n"
        b"\xff@example.com,\n"
        b'cy@example.com,"open" quote\n'
        b"dee@example.com,a\0b\n"
        b"nobody,\n"
    )
    assert read_faults(operator, str(file)) == [
        (2, "name"),
        (4, "line"),
        (5, "email"),
        (6, "line"),
        (7, "name"),
        (8, "email"),
    ]


@pytest.mark.parametrize("header", ["name", "email,email", "email,password", "email,is_superuser"])
def test_a_column_that_is_missing_double_or_unknown_is_named(operator: Operator, tmp_path: Path, header: str) -> None:
    file = tmp_path / "users.csv"
    file.write_text(f"{header}\n")
    assert read_faults(operator, str(file)) == [(1, "header")]


def test_nobody_imports_a_role_that_allows_more_than_they_may(app: Flask, factory: Factory) -> None:
    role = factory.role("audit:read").name
    actor = Actor(user_id=None, permissions=frozenset({"users:write"}))
    rows = [ImportedUser(line=1, email="ada@example.com", roles=(role,))]
    with app.app_context():
        with pytest.raises(ImportRefused) as caught:
            imports.import_users(rows, actor=actor, on_progress=lambda _count: None)
        assert [(fault.line, fault.field) for fault in caught.value.faults] == [(1, "roles")]
        assert users.count_users() == 0


def test_a_role_that_a_line_names_twice_is_given_once(operator: Operator, factory: Factory, tmp_path: Path) -> None:
    name = factory.role().name
    row = {"email": "ada@example.com", "roles": [name, "user", name]}
    assert operator.do("user", "import", write_lines(tmp_path / "users.jsonl", row))["imported"] == 1
    assert sorted(operator.do("user", "list")["items"][0]["roles"]) == sorted([name, "user"])


def test_a_dry_run_finds_the_same_and_stores_nothing(operator: Operator, factory: Factory, tmp_path: Path) -> None:
    factory.user(email="taken@example.com")
    good = write_lines(tmp_path / "good.jsonl", {"email": "ada@example.com"})
    bad = write_lines(tmp_path / "bad.jsonl", {"email": "ada@example.com"}, {"email": "taken@example.com"})
    assert operator.do("user", "import", good, "--dry-run")["imported"] == 0
    assert read_faults(operator, bad, "--dry-run") == [(2, "email")]
    assert list_emails(operator) == ["taken@example.com"]


def test_somebody_who_registers_meanwhile_makes_the_import_store_nothing(
    app: Flask, operator: Operator, factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_lines(tmp_path / "users.jsonl", {"email": "ada@example.com"}, {"email": "bob@example.com"})
    find_faults = imports.find_faults
    calls: list[int] = []

    def find_nothing_at_first(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return [] if len(calls) == 1 else find_faults(*args, **kwargs)

    factory.user(email="bob@example.com")
    monkeypatch.setattr(imports, "find_faults", find_nothing_at_first)
    assert read_faults(operator, file) == [(2, "email")]
    assert list_emails(operator) == ["bob@example.com"]
    with app.app_context():
        assert audit.list_entries(limit=5, action="user.imported").items == []


def test_a_database_that_gives_up_halfway_keeps_nothing(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "CHUNK", 1)
    file = write_lines(tmp_path / "users.jsonl", {"email": "ada@example.com"}, {"email": "bob@example.com"})
    add, calls = imports._add, []

    def fail_the_second_time(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise IntegrityError("INSERT … secret", {}, Exception("secret"))
        add(*args, **kwargs)

    monkeypatch.setattr(imports, "_add", fail_the_second_time)
    result = operator.run("user", "import", file)
    assert result.exit_code == 1
    assert "secret" not in result.output
    assert list_emails(operator) == []


def test_many_accounts_are_imported_in_a_few_statements(
    app: Flask, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.transfer.is_progress_shown", lambda: True)
    rows = [{"email": f"user{number}@example.com"} for number in range(1200)]
    result = operator.run("user", "import", write_lines(tmp_path / "users.jsonl", *rows))
    assert result.stdout == "1200 accounts were imported.\n"
    with app.app_context():
        assert users.count_users() == 1200
        assert db.session.scalar(db_count()) == 1200


def db_count() -> Any:
    import sqlalchemy as sa  # noqa: PLC0415 - one test asks the table itself

    from app.models import AuditEntry  # noqa: PLC0415

    return sa.select(sa.func.count()).select_from(AuditEntry).where(AuditEntry.action == "user.imported")


@pytest.mark.no_database
def test_a_file_that_is_not_there_or_of_no_known_kind_is_one_clear_line(operator: Operator, tmp_path: Path) -> None:
    assert "No such file" in operator.fail("user", "import", str(tmp_path / "none.csv"))
    assert operator.run("user", "import", str(tmp_path / "users.xml")).exit_code == 2
    assert "No such file" in operator.fail("user", "export", str(tmp_path / "none" / "users.jsonl"))


def test_a_device_is_written_to_and_not_replaced(operator: Operator, factory: Factory) -> None:
    factory.user(password=None)
    assert operator.do("user", "export", os.devnull)["count"] == 1
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116 - a device
