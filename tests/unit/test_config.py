"""The settings: read once, checked, and no secret shown."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import secrets
import stat
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import run
from app.config import ROOT, Settings, load_settings
from app.environment import SettingsError, list_settings
from app.extending import Extension, Extensions
from app.product import load_extensions, warn_of_unknown_names

if TYPE_CHECKING:
    from pathlib import Path

KEY = "HvI6wwQml-NRJ8gH57wO93g4M9tdpX1bOidOcB41cmg3pqMq"
SECRET = "s3cr3t-v4lue"


def read(**environ: str) -> Settings:
    """Return the settings of an environment that has a key."""
    return Settings.from_environ({"SECRET_KEY": KEY} | environ)


def find_faults(**environ: str) -> list[str]:
    """Return the names of the settings that are wrong."""
    with pytest.raises(SettingsError) as error:
        read(**environ)
    assert all(fault in str(error.value) for fault in error.value.faults)
    return [fault.partition(":")[0] for fault in error.value.faults]


def test_every_fault_is_named_in_one_message_and_no_secret_is_shown() -> None:
    wrong = {
        "APP_ENV": "prod",
        "SECRET_KEY": SECRET,
        "SECRET_KEY_FALLBACKS": f"{KEY},{SECRET}",
        "DATABASE_URL": f"oracle://u:{SECRET}@h/d",
        "RATELIMIT_STORAGE_URI": f"redis://u:{SECRET}@h:port/0",
        "RATELIMIT_LOGIN": "often",
        "PUBLIC_URL": f"https://u:{SECRET}@accounts.example.com",
        "CORS_ORIGINS": "*",
        "TRUSTED_PROXIES": "-1",
        "REGISTRATION": "maybe",
        "ADMIN_EMAIL": "nobody",
        "PASSWORD_MIN_LENGTH": "7",
        "SESSION_LIFETIME": "12h",
        "PORT": "65536",
        "LOG_LEVEL": "loud",
        "SESSION_COOKIE_SECURE": "perhaps",
    }
    with pytest.raises(SettingsError) as error:
        Settings.from_environ(wrong)
    assert [fault.partition(":")[0] for fault in error.value.faults] == [
        field.name.upper() for field in list_settings(Settings) if field.name.upper() in wrong
    ]
    assert all("expected " in fault for fault in error.value.faults)
    assert SECRET not in str(error.value)
    assert KEY not in str(error.value)
    assert "got '65536'" in str(error.value)


def test_a_password_in_a_setting_that_takes_none_is_not_shown() -> None:
    names = [field.name.upper() for field in list_settings(Settings)]
    for wrong in (f"redis://u:{SECRET}@h:port/0", f"staff.login=redis://u:{SECRET}@h"):
        with pytest.raises(SettingsError) as error:
            Settings.from_environ(dict.fromkeys(names, wrong))
        assert len(error.value.faults) > len(names) / 2
        assert SECRET not in str(error.value)


def test_limits_of_roles_are_refused_by_name_with_those_that_there_are() -> None:
    for wrong in ("staff", "staff.login=often", "a.login=5/minute a.login=6/minute"):
        assert find_faults(RATELIMIT_ROLES=wrong) == ["RATELIMIT_ROLES"]
    with pytest.raises(
        SettingsError,
        match="default, login, login-address, register, mail, token, proof-of-work; there is none called typo",
    ):
        load_extensions(read(RATELIMIT_ROLES="staff.typo=5/minute"))
    # Without an extension it is no fault of one.
    with pytest.raises(SettingsError, match=r"^The settings are wrong"):
        load_extensions(read(RATELIMIT_ROLES="staff.typo=5/minute"))
    # What is wrong with one setting is no fault of the other.
    assert find_faults(RATELIMIT_ROLES="staff.login=9/minute", RATELIMIT_LOGIN="often") == ["RATELIMIT_LOGIN"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "a" * 64),
        ("SECRET_KEY", "12345678" * 8),
        ("SECRET_KEY", "correct-horse-battery-staple-correct-horse-battery-staple"),
        ("SECRET_KEY", "the quick brown fox jumps over the lazy dog again and again"),
        ("SECRET_KEY", "qwertyuiopasdfghjklzxcvbnm1234567890"),
        ("SECRET_KEY_FALLBACKS", "gatehouse-super-secret-key-for-production-2026"),
        ("MAIL_URL", "mail.example.com"),
        ("MAIL_URL", "smtp://user:pa55@mail.example.com?starttls=maybe"),
        ("MAIL_FROM", "accounts"),
        ("MAIL_TEMPLATES", "no-such-folder"),
        ("SITE_NAME", "Acme\r\nBcc: victim@example.com"),
        ("SITE_LOGO", "http://www.example.com/logo.png"),
        ("SITE_ACCENT", "green"),
        ("TRUSTED_PROXIES", "11"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("PORT", "0"),
        ("PORT", "\uff18\uff10"),
        ("PORT", " 80"),
        ("PORT", "1_0"),
        ("PORT", "9" * 5000),
        ("PUBLIC_URL", "accounts.example.com"),
        ("PUBLIC_URL", "ftp://accounts.example.com"),
        ("PUBLIC_URL", "https://accounts.example.com/path"),
        ("PUBLIC_URL", "https://accounts.example.com?x"),
        ("PUBLIC_URL", "https://accounts.example.com:99999"),
        ("PUBLIC_URL", "https://accounts.example.com:0"),
        ("PUBLIC_URL", "https://accounts.example.com:x"),
        ("PUBLIC_URL", "https://["),
        ("PUBLIC_URL", "https://a b"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://app.example.com$"),
        ("CORS_ORIGINS", "https://(app|evil).example.com"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "*.example.com"),
        ("ALLOWED_HOSTS", ".example.com"),
        ("ALLOWED_HOSTS", "https://example.com"),
        ("ALLOWED_HOSTS", "a@b"),
        ("ALLOWED_HOSTS", ","),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    assert find_faults(**{name: value}) == [name]


def test_an_origin_is_spelled_as_browsers_do() -> None:
    settings = read(
        CORS_ORIGINS="HTTPS://App.Example.com:443/, http://a.test:80 ,http://[::1]:3000,https://b.test:8443"
    )
    assert settings.cors_origins == (
        "https://app.example.com", "http://a.test", "http://[::1]:3000", "https://b.test:8443",
    )  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [("true", True), ("ON", True), ("1", True), ("no", False), ("0", False)])
def test_switches_take_the_usual_words(text: str, *, value: bool) -> None:
    assert read(RATELIMIT_ENABLED=text).ratelimit_enabled is value


def test_random_keys_are_strong_however_they_are_spelled() -> None:
    for _ in range(50):
        for key in (secrets.token_urlsafe(24), secrets.token_hex(16), secrets.token_hex(32), str(uuid.uuid4())):
            assert read(SECRET_KEY=key).secret_key == key


def test_production_wants_what_it_must_not_guess() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environ({"APP_ENV": "production"})
    assert [fault.partition(":")[0] for fault in error.value.faults] == ["SECRET_KEY", "ALLOWED_HOSTS"]
    assert all(fault.endswith("got none") for fault in error.value.faults)


REMOTE = f"postgresql://gatehouse:{SECRET}@db1.example.com,db2.example.com/gatehouse"


def test_production_refuses_a_remote_database_without_a_word_about_encryption() -> None:
    production = {"APP_ENV": "production", "ALLOWED_HOSTS": "a.example.com"}
    with pytest.raises(SettingsError, match=r"DATABASE_URL: .*sslmode=verify-full .*sslmode=disable") as error:
        read(**production, DATABASE_URL=REMOTE)
    assert SECRET not in str(error.value)
    for word in ("sslmode=disable", "sslmode=require", "sslmode=verify-full"):
        assert read(**production, DATABASE_URL=f"{REMOTE}?{word}").database_url.text.endswith(word)
    assert read(**production, DATABASE_URL=REMOTE, DATABASE_REQUIRE_TLS="false").database_url.text == REMOTE


def test_a_setting_requires_encryption_and_not_the_environments_name() -> None:
    assert read(DATABASE_URL=REMOTE).database_url.text == REMOTE
    assert find_faults(DATABASE_URL=REMOTE, DATABASE_REQUIRE_TLS="true") == ["DATABASE_URL"]
    assert find_faults(DATABASE_URL="mysql://h", DATABASE_REQUIRE_TLS="true") == ["DATABASE_URL"]


def test_the_environments_name_chooses_defaults_and_nothing_else() -> None:
    production = read(APP_ENV="production", ALLOWED_HOSTS="a.example.com")
    assert (production.session_cookie_secure, production.log_format, production.admin_email) == (True, "json", None)
    same = read(APP_ENV="production", ALLOWED_HOSTS="a.example.com", SESSION_COOKIE_SECURE="false", LOG_FORMAT="text")
    assert (same.session_cookie_secure, same.log_format) == (False, "text")
    # No code but the settings' own asks for the name.
    asking = [path for path in (ROOT / "app").rglob("*.py") if "app_env" in path.read_text()]
    assert [path.name for path in asking if path.name not in {"config.py", "doctor.py"}] == []


def test_the_cores_are_divided_among_the_workers_that_hash_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    for workers, share in (("1", 6), ("2", 3), ("4", 2), ("8", 1)):
        assert read(WORKERS=workers).hashes_at_once == share
    assert read(PASSWORD_HASHING_CONCURRENCY="5").hashes_at_once == 5


def test_a_password_for_nobody_is_a_fault() -> None:
    faults = find_faults(APP_ENV="production", ALLOWED_HOSTS="a.example.com", ADMIN_PASSWORD="x" * 20)
    assert faults == ["ADMIN_EMAIL"]


def test_settings_are_frozen_and_print_no_secret() -> None:
    url = f"postgresql://gatehouse:{SECRET}@localhost/gatehouse"
    settings: Any = read(DATABASE_URL=url, ADMIN_PASSWORD=SECRET, SECRET_KEY_FALLBACKS=KEY[::-1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.port = 1
    for text in (repr(settings), str(settings), repr(settings.describe())):
        for secret in (SECRET, KEY, KEY[::-1], "gatehouse:"):
            assert secret not in text
    assert settings.describe()["PORT"] == 8000


def test_a_relative_sqlite_path_belongs_to_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(DATABASE_URL="sqlite:///var/x.db").database_url.text == f"sqlite:///{ROOT}/var/x.db"


# --- the file .env, and the key that is kept ---


def load(tmp_path: Path, **environ: str) -> Settings:
    """Return the settings of a project in ``tmp_path``."""
    return load_settings(environ, dotenv=tmp_path / ".env", var=tmp_path / "var")


def test_the_environment_wins_over_the_file_and_an_empty_value_is_none(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PORT=1234\nHOST=file.test\nLOG_LEVEL=debug\nSECRET_KEY='{KEY}'\n")
    settings = load(tmp_path, HOST="environment.test", LOG_LEVEL="")
    assert (settings.port, settings.host, settings.log_level) == (1234, "environment.test", "DEBUG")
    assert settings.secret_key == KEY
    assert not (tmp_path / "var").exists()


def test_a_misspelt_setting_stops_the_start_with_the_one_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"REGISTRATON=closed\nSECRET_KEY={KEY}\n")
    with pytest.raises(SettingsError) as error:
        load(tmp_path, PORT="none", RATELIMIT_STORAGE_URL="redis://h")
    assert error.value.faults[1:] == [
        "RATELIMIT_STORAGE_URL: expected a setting that there is; did you mean RATELIMIT_STORAGE_URI?",
        "REGISTRATON: expected a setting that there is; did you mean REGISTRATION?",
    ]
    assert error.value.faults[0].startswith("PORT: ")


def test_what_belongs_to_others_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".env").write_text(f"SECRET_KEY={KEY}\nPOSTGRES_PASSWORD=x\nMY_OWN=1\nACME_INVOICES_X=1\n")
    settings = load(tmp_path, HOSTNAME="h", WORKSPACE="/w", LOGNAME="root", SHELL="sh", MAIL="/var/mail", MY_OTHER="1")
    extension = Extension(name="acme_invoices", version="1", face=1)
    warn_of_unknown_names(settings, Extensions([extension]))
    assert [record.args for record in caplog.records] == [("MY_OWN",)]


def test_outside_production_a_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        first = load(tmp_path)
    finally:
        os.umask(old)
    path = tmp_path / "var" / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(first.secret_key) >= 64
    assert load(tmp_path).secret_key == first.secret_key == path.read_text()
    assert list(path.parent.iterdir()) == [path]


def test_a_kept_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    first = load(tmp_path)
    path = tmp_path / "var" / "secret_key"
    path.chmod(0o644)
    assert load(tmp_path).secret_key == first.secret_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_whatever_a_dead_process_left_does_not_stop_the_next(tmp_path: Path) -> None:
    var = tmp_path / "var"
    var.mkdir()
    (var / f"secret_key.{os.getpid()}").write_text("half")
    assert len(load(tmp_path).secret_key) >= 64


def test_a_damaged_key_is_a_fault_and_not_a_weak_key(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret_key").write_text("short")
    with pytest.raises(SettingsError, match="SECRET_KEY: expected at least 32"):
        load(tmp_path)


def test_production_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        load(tmp_path, APP_ENV="production", ALLOWED_HOSTS="a.example.com")
    assert not (tmp_path / "var").exists()


def _load_in_a_process(tmp_path: Path, start: Any, keys: Any) -> None:
    start.wait(10)
    keys.put(load(tmp_path).secret_key)


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, keys = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_load_in_a_process, args=(tmp_path, start, keys)) for _ in range(4)]
    for process in processes:
        process.start()
    assert len({keys.get(timeout=30) for _ in processes}) == 1
    for process in processes:
        process.join(30)


def test_who_made_a_key_first_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (secrets.token_urlsafe(48) for _ in range(2))

    def be_overtaken(_size: int) -> str:
        (tmp_path / "var" / "secret_key").write_text(first)
        return second

    monkeypatch.setattr("app.secret_keys.secrets.token_urlsafe", be_overtaken)
    assert load(tmp_path).secret_key == first
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["secret_key"]


def test_settings_that_are_read_anew_leave_alone_what_all_processes_share(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    former = Settings.from_environ(environ | {"WORKERS": "8", "THREADS": "4"})
    other = {"WORKERS": "1", "THREADS": "40", "DATABASE_URL": "sqlite:///other.db", "RATELIMIT_LOGIN": "7/minute"}
    changed = Settings.from_environ(environ | other)
    monkeypatch.setattr(run, "load_settings", lambda: changed)
    anew = run._load_settings_anew(former)
    assert (anew.workers, anew.threads, str(anew.ratelimit_login)) == (8, 4, "7/minute")
    assert anew.database_url.text == environ["DATABASE_URL"]


def test_a_file_that_is_cut_off_makes_no_development_of_production(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    former = Settings.from_environ(environ)
    monkeypatch.setattr(run, "load_settings", lambda: dataclasses.replace(former, app_env="development"))
    assert run._load_settings_anew(former) is former
    monkeypatch.setattr(run, "load_settings", lambda: dataclasses.replace(former, registration="closed"))
    assert run._load_settings_anew(former).registration == "closed"
