"""The installed product, in a folder whose owner has an ``app.py`` and an extension of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import requests

import gatehouse
import hatch_build
from gatehouse.testing.servers.ports import find_free_port
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
EMAIL: Final = "root@example.com"
PASSWORD: Final = "turnip lantern gravel osprey"

APP: Final = "GREETING = 'Somebody else wrote this module.'\n"
EXTENSION: Final = '''"""Says hello."""

from app import GREETING
from gatehouse import Blueprint, Extension, get_actor, requires

blueprint = Blueprint("acme_hello", __name__, url_prefix="/api/v1/hello")


@blueprint.route("")
@blueprint.response(200, {"type": "object"})
@requires()
def get_hello() -> dict[str, str]:
    """Say hello."""
    return {"greeting": GREETING, "user_id": str(get_actor().user_id)}


extension = Extension(name="acme_hello", version="1", face=1, blueprints=(blueprint,))
'''


TESTS: Final = """import urllib.request

def test_a_signed_in_user_is_greeted(user, user_browser):
    assert user_browser.get("/api/v1/hello").get_json()["user_id"] == str(user.id)

def test_it_is_served(live_server):
    with urllib.request.urlopen(f"{live_server.url}/openapi.json") as answer:
        assert b"/api/v1/hello" in answer.read()
"""


class Place:
    """A folder, and an environment in which the wheel is installed."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        self.python = str(environment / "bin" / "python")
        self.packages = next(environment.glob("lib/python*/site-packages"))
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.installed = self.list_packages()

    def call(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the folder."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=self.make_environ() | environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def flask(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run an operator's command."""
        return self.call("-m", "flask", "--app", "gatehouse", *arguments, **environ)

    @staticmethod
    def make_environ() -> dict[str, str]:
        """Return the environment: nothing of ours, and no file is written for having been imported."""
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
        return inherited | {"PYTHONDONTWRITEBYTECODE": "1"}

    def list_packages(self) -> dict[str, int]:
        """Return what is installed: each file, and when it was written."""
        return {str(path): path.stat().st_mtime_ns for path in self.packages.rglob("*")}


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build the project in ``source`` with what is installed here, and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it needs comes from the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture
def place(environment: Path, tmp_path: Path) -> Place:
    """A folder with a program of its owner."""
    place = Place(tmp_path, environment)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "acme_hello").mkdir()
    (tmp_path / "acme_hello" / "__init__.py").write_text(EXTENSION)
    (tmp_path / "acme_hello" / "py.typed").touch()
    settings = {"PORT": place.port, "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD, "APP_EXTENSIONS": "acme_hello"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (tmp_path / ".env").chmod(0o600)
    return place


@pytest.fixture
def served(place: Place) -> Iterator[Place]:
    """The place, set up and served."""
    with serving(place):
        yield place


@contextmanager
def serving(place: Place) -> Iterator[None]:
    """Set the place up and serve it."""
    done = place.flask("setup")
    assert done.returncode == 0, done.stderr
    with (place.folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [place.python, "-m", "gatehouse"], cwd=place.folder, env=place.make_environ(), stdout=log, stderr=log
        )
        try:
            wait_until(lambda: is_ready(place), within_seconds=30, what=f"the product to serve, see {log.name}")
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def is_ready(place: Place) -> bool:
    try:
        return requests.get(f"{place.url}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def sign_in(place: Place) -> requests.Session:
    browser = requests.Session()
    base = f"{place.url}/api/v1/auth"
    token = browser.get(f"{base}/csrf", timeout=10).json()["csrf_token"]
    body = {"email": EMAIL, "password": PASSWORD}
    answer = browser.post(f"{base}/login", json=body, headers={"X-CSRF-Token": token}, timeout=10)
    assert answer.status_code == 200, answer.text
    return browser


# --- what is in it ---


def test_it_holds_one_package_beside_pytest_s_plugin_and_all_of_the_product_s_files(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {"gatehouse", "pytest_gatehouse.py"}
    files = [path for path in (ROOT / "app").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {f"gatehouse/_app/{path.relative_to(ROOT / 'app')}" for path in files} <= set(names)
    assert {"gatehouse/py.typed", "gatehouse/__main__.py"} <= set(names)


def test_a_source_distribution_builds_the_same_wheel_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    archive = build("sdist", ROOT, tmp_path)
    shutil.unpack_archive(archive, tmp_path, filter="data")
    again = build("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert again.read_bytes() == wheel.read_bytes()


def test_it_is_not_installed_as_editable() -> None:
    # The folder on everybody's path would offer them our app.
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel:editable"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "Work in the clone" in done.stderr


@pytest.mark.parametrize(
    "line", ["import app", "import app.clock", 'NAME = "app.clock"', "x = 1; from app.clock import now"]
)
def test_a_line_that_would_mean_somebody_else_s_module_is_refused(line: str, tmp_path: Path) -> None:
    for folder in ("app", "gatehouse"):
        (tmp_path / folder).mkdir()
    (tmp_path / "run.py").touch()
    (tmp_path / "app" / "clock.py").write_text("from app.clock import now\n")
    hatch_build.copy_package(tmp_path, tmp_path / "well")
    assert (tmp_path / "well" / "_app" / "clock.py").read_text() == "from gatehouse._app.clock import now\n"
    (tmp_path / "app" / "emails.py").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"emails\.py:1 names"):
        hatch_build.copy_package(tmp_path, tmp_path / "ill")


# --- where it is installed ---


def test_an_operator_sets_it_up_and_serves_it_and_only_the_working_folder_is_written_to(served: Place) -> None:
    browser = sign_in(served)
    assert browser.get(f"{served.url}/api/v1/users/me", timeout=10).json()["email"] == EMAIL
    for page in ("/", "/docs", "/static/site.css"):
        assert requests.get(served.url + page, timeout=10).status_code == 200, page
    assert {"app.db", "secret_key"} <= {path.name for path in (served.folder / "var").iterdir()}
    assert served.list_packages() == served.installed


def test_its_extension_is_served(served: Place) -> None:
    browser = sign_in(served)
    me = browser.get(f"{served.url}/api/v1/users/me", timeout=10).json()
    answer = browser.get(f"{served.url}/api/v1/hello", timeout=10)
    assert answer.json() == {"greeting": "Somebody else wrote this module.", "user_id": me["id"]}
    assert requests.get(f"{served.url}/api/v1/hello", timeout=10).status_code == 401
    assert "/api/v1/hello" in requests.get(f"{served.url}/openapi.json", timeout=10).json()["paths"]


def test_the_module_app_stays_its_owner_s(place: Place) -> None:
    done = place.call("-c", "import app, gatehouse; gatehouse.create_app(); print(app.__file__)")
    assert done.stdout.strip() == str(place.folder / "app.py"), done.stderr
    done = place.call("-c", "import sys; sys.path.remove(''); import gatehouse, app")
    assert "No module named 'app'" in done.stderr


def test_all_of_it_can_be_imported(place: Place) -> None:
    names = [".".join(path.relative_to(place.packages).with_suffix("").parts) for path in list_modules(place)]
    done = place.call("-c", f"import importlib; [importlib.import_module(name) for name in {names}]")
    assert done.returncode == 0, done.stderr


def list_modules(place: Place) -> list[Path]:
    """Return the files of the installed package that are modules: Alembic runs the migrations as they are."""
    files = (place.packages / "gatehouse").rglob("*.py")
    return [path for path in files if "migrations" not in path.parts and path.name != "__main__.py"]


def test_its_mails_are_rendered_and_translated(place: Place) -> None:
    (place.folder / "mail.py").write_text(
        "from gatehouse._app.mail import SAMPLES, Site, render\n"
        "site = Site(name='Acme', url='https://accounts.example.com', accent='#000000')\n"
        "mail = {'recipient': 'a@example.com', 'message_id': 'x', 'sent_from': 'b@example.com', 'site': site}\n"
        "for name, context in SAMPLES.items():\n"
        "    print(render(name, language='de', context=context, **mail)['Subject'])\n"
    )
    done = place.call("mail.py")
    assert "Neues Passwort wählen" in done.stdout.splitlines(), done.stderr


def test_a_remedy_names_the_command_as_it_is_called_here(place: Place) -> None:
    done = place.flask("doctor")
    assert done.returncode == 1
    assert "-> flask --app gatehouse setup\n" in done.stdout, done.stderr


def test_nothing_is_written_beside_the_installed_migrations(place: Place) -> None:
    assert place.flask("setup").returncode == 0
    for arguments in (("migrate", "-m", "mine"), ("revision", "-m", "mine")):
        done = place.flask("db", *arguments)
        assert done.returncode == 1
        assert "name your --extension" in done.stderr
    assert place.list_packages() == place.installed


def test_wrong_settings_are_named_by_commands_and_by_the_server(place: Place) -> None:
    wrong = {"WORKERS": "many"}, {"APP_EXTENSIONS": "acme_nothing"}
    for environ, fault in zip(wrong, ("WORKERS: expected a whole", "acme_nothing: there is no package"), strict=True):
        for done in (place.flask("user", "list", **environ), place.call("-m", "gatehouse", **environ)):
            assert done.returncode == 1
            assert fault in done.stderr
            # No stack, and no line of the log.
            assert len(done.stderr.splitlines()) == 2, done.stderr
    assert "FAULT    settings: WORKERS: expected" in place.flask("doctor", WORKERS="many").stdout


def test_an_extension_s_tests_use_its_fixtures(place: Place) -> None:
    (place.folder / "test_hello.py").write_text(TESTS)
    (place.folder / "pytest.ini").write_text("[pytest]\ngatehouse_extensions = acme_hello\n")
    done = place.call("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.server("postgresql")
@pytest.mark.server("mariadb")
def test_a_resource_is_written_tested_and_served_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "billing", environment)
    place.folder.mkdir()
    done = place.flask("new", "resource", "Invoice", "number:text", "total:decimal", "paid:bool", "customer:user")
    assert done.returncode == 0, done.stderr
    done = place.call("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert check_types(place, "billing").stdout.startswith("Success"), check_types(place, "billing").stdout
    with (place.folder / ".env").open("a") as file:
        file.write(f"PORT={place.port}\nADMIN_EMAIL={EMAIL}\nADMIN_PASSWORD={PASSWORD}\n")
    with serving(place):
        browser = sign_in(place)
        token = browser.get(f"{place.url}/api/v1/auth/csrf", timeout=10).json()["csrf_token"]
        customer = browser.get(f"{place.url}/api/v1/users/me", timeout=10).json()["id"]
        body = {"number": "2026-1", "total": "12.50", "customer_id": customer}
        made = browser.post(f"{place.url}/api/v1/invoices", json=body, headers={"X-CSRF-Token": token}, timeout=10)
        assert made.status_code == 201, made.text
        assert browser.get(f"{place.url}/api/v1/invoices?q=2026", timeout=10).json()["items"] == [made.json()]
        document = requests.get(f"{place.url}/openapi.json", timeout=10).json()
        assert document["paths"]["/api/v1/invoices"]["get"]["x-resource"]["title"] == "number"
    assert place.list_packages() == place.installed


# --- what its types say ---


def check_types(place: Place, *files: str) -> subprocess.CompletedProcess[str]:
    command = ["mypy", "--strict", "--cache-dir", "var/mypy", "--python-executable", place.python, *files]
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=place.folder,
        env=place.make_environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_the_types_of_an_extension_are_checked_against_it(place: Place) -> None:
    (place.folder / "wrong.py").write_text(
        "from gatehouse import Extension, Nonsense, now\n\nExtension(name=1, version='1', face=1)\nthen: str = now()\n"
    )
    revealed = "".join(f"reveal_type(gatehouse.{name})\n" for name in gatehouse.__all__)
    (place.folder / "all.py").write_text(f"import gatehouse\n\n{revealed}")
    revealed = check_types(place, "all.py").stdout
    assert revealed.count("Revealed type is") == len(gatehouse.__all__)
    assert 'Revealed type is "Any"' not in revealed
    assert check_types(place, "acme_hello").stdout.startswith("Success"), check_types(place, "acme_hello").stdout
    found: Any = check_types(place, "wrong.py").stdout
    assert 'Module "gatehouse" has no attribute "Nonsense"' in found
    assert 'Argument "name" to "Extension" has incompatible type "int"; expected "str"' in found
    assert 'expression has type "datetime", variable has type "str"' in found
