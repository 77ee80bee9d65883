from __future__ import annotations

import contextlib
import gc
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.database import DatabaseUnavailable, make_database_file, make_engine, parse_database_url, probe
from app.database.faults import DatabaseFileGone
from app.database.retry import run_again
from app.database.sqlite_file import DatabaseFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may write to."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


@contextlib.contextmanager
def without_privilege() -> Iterator[None]:
    """Be a user for whom a file's mode counts."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def open_new(path: Path) -> sa.Engine:
    """Make a file and return an engine on it."""
    target = parse_database_url(f"sqlite:///{path}")
    make_database_file(target)
    return make_engine(target)


def create_table(engine: sa.Engine) -> None:
    with engine.connect().execution_options(is_write=True) as connection:
        connection.exec_driver_sql("CREATE TABLE entries (number INTEGER)")
        connection.commit()


def insert(engine: sa.Engine) -> None:
    def unit() -> None:
        with engine.connect().execution_options(is_write=True) as connection:
            connection.exec_driver_sql("INSERT INTO entries VALUES (1)")
            connection.commit()

    run_again(unit)


def count(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM entries").scalar_one())


def look(engine: sa.Engine) -> str:
    return probe(engine, timeout_ms=5000)


def test_the_file_and_all_that_is_made_with_it_are_their_owner_s_alone(folder: Path) -> None:
    former = os.umask(0)
    try:
        engine = open_new(folder / "new/deeper/app.db")
        create_table(engine)
    finally:
        os.umask(former)
    made = [folder / "new", *(folder / "new").rglob("*")]
    assert {path.name for path in made} == {"new", "deeper", "app.db", "app.db-wal", "app.db-shm"}
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made} == {0}
    engine.dispose()


def test_an_engine_makes_no_file_where_there_is_none_and_uses_the_one_that_a_migration_makes(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "app.db"
    engine = make_engine(parse_database_url(f"sqlite:///{path}"))
    for _ in range(2):
        with pytest.raises(DatabaseFileGone):
            insert(engine)
    assert look(engine) == "file_gone"
    assert not path.exists()
    assert [record.levelname for record in caplog.records if "the database's file" in record.getMessage()] == ["ERROR"]
    make_database_file(parse_database_url(f"sqlite:///{path}"))
    create_table(engine)
    insert(engine)
    assert count(engine) == 1
    assert look(engine) == "ok"
    engine.dispose()


def test_a_file_that_goes_away_while_it_is_opened_is_not_made_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "app #%20.db"
    engine = open_new(path)
    create_table(engine)
    engine.dispose()
    path.unlink()
    monkeypatch.setattr(DatabaseFile, "check", lambda _file: None)
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
        count(engine)
    assert not path.exists()


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_file_that_is_taken_away_takes_no_write_and_is_used_again_when_it_is_back(
    folder: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, kept = folder / "app.db", folder / "kept.db"
    engine = open_new(path)
    create_table(engine)
    insert(engine)
    assert look(engine) == "ok"
    # Another name for the same file, by which it can be put back.
    os.link(path, kept)
    path.unlink()
    if how == "replaced":
        path.write_bytes(b"")
    elif how == "moved":
        kept.rename(folder / "moved.db")
        kept = folder / "moved.db"
    for _ in range(2):
        with pytest.raises(DatabaseFileGone):
            insert(engine)
        with pytest.raises(DatabaseFileGone):
            count(engine)
    assert look(engine) == "file_gone"
    kept.rename(path)
    insert(engine)
    assert count(engine) == 2
    assert look(engine) == "ok"
    assert len([record for record in caplog.records if "the database's file" in record.getMessage()]) == 2
    engine.dispose()


def test_a_file_that_is_taken_away_under_a_transaction_does_not_get_its_commit(folder: Path) -> None:
    path = folder / "app.db"
    engine = open_new(path)
    create_table(engine)
    with engine.connect().execution_options(is_write=True) as connection:
        connection.exec_driver_sql("INSERT INTO entries VALUES (1)")
        path.rename(folder / "moved.db")
        with pytest.raises(DatabaseFileGone):
            connection.commit()
    (folder / "moved.db").rename(path)
    assert count(engine) == 0
    engine.dispose()


def test_a_file_that_was_read_only_for_a_moment_takes_writes_again(folder: Path) -> None:
    path = folder / "app.db"
    with without_privilege():
        engine = open_new(path)
        create_table(engine)
        engine.dispose()
        path.chmod(0o400)
        assert count(engine) == 0
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="takes no writes"):
                insert(engine)
        # What the refusals' tracebacks hold goes, and with it the last connection that was open.
        gc.collect()
        path.chmod(0o600)
        insert(engine)
        assert count(engine) == 1
    engine.dispose()


def test_a_folder_that_cannot_be_written_to_is_named_as_the_reason(folder: Path) -> None:
    with without_privilege():
        engine = open_new(folder / "app.db")
        create_table(engine)
        engine.dispose()
        (folder / "closed").mkdir(mode=0o500)
        with pytest.raises(DatabaseUnavailable, match="cannot be made: Permission denied"):
            open_new(folder / "closed/app.db")


@pytest.mark.parametrize(("closed", "mode", "open_mode"), [("app.db", 0o000, 0o600), (".", 0o555, 0o777)])
def test_a_file_or_folder_that_was_closed_for_a_moment_is_named_and_used_again(
    folder: Path, closed: str, mode: int, open_mode: int
) -> None:
    with without_privilege():
        engine = open_new(folder / "app.db")
        create_table(engine)
        engine.dispose()
    (folder / closed).chmod(mode)
    with without_privilege(), pytest.raises(DatabaseUnavailable, match="cannot be opened, or its folder not be"):
        insert(engine)
    (folder / closed).chmod(open_mode)
    with without_privilege():
        insert(engine)
        assert count(engine) == 1
    engine.dispose()


@pytest.mark.parametrize("closed", ["app.db", "."])
def test_a_look_tells_of_a_file_and_a_folder_that_cannot_be_written_to(
    folder: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_new(folder / "app.db")
    create_table(engine)
    assert look(engine) == "ok"
    # For root every file can be written to, unless the whole file system is read-only.
    monkeypatch.setattr("app.database.sqlite_file.os.access", lambda path, _mode: path != folder / closed)
    assert look(engine) == "read_only"
    engine.dispose()
