"""The README's tour, run as printed against the real server."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import requests

from app.config import ROOT
from gatehouse.testing.servers.product import Product

if TYPE_CHECKING:
    from pathlib import Path

ADMIN_PASSWORD = "gravel osprey turnip lantern"


def test_the_tour_finds_the_token_in_pretty_json_too() -> None:
    command = re.search(r"sed -n '.*?'", (ROOT / "README.md").read_text())
    assert command is not None
    answer = '{\n  "csrf_token": "a-token"\n}\n'
    done = subprocess.run(["bash", "-c", command[0]], input=answer, capture_output=True, text=True, check=True)
    assert done.stdout == "a-token\n"


def test_the_tour_works_as_printed(environ: dict[str, str], tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    tour = readme.partition("## A tour")[2].partition("\n## ")[0]
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", tour, flags=re.DOTALL))
    settings = environ | {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": ADMIN_PASSWORD}
    setup = [sys.executable, "-m", "flask", "--app", "run", "setup"]
    subprocess.run(setup, cwd=ROOT, env=Product(settings, folder=tmp_path).environ, check=True, capture_output=True)

    with Product(settings, folder=tmp_path) as product:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace("http://127.0.0.1:8000", product.url)],
            cwd=tmp_path,
            input=f"{ADMIN_PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    position = 0
    for expected in (
        '"ada@example.com"',
        '"Ada"',
        '"admin@example.com"',
        '"items"',
        '"ada@example.com"',
        "204",
        '"not_signed_in"',
    ):
        position = done.stdout.index(expected, position) + len(expected)


def test_the_mails_of_the_tour_arrive_and_do_what_they_say(environ: dict[str, str], tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    parts = [readme.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("A tour", "Mails")]
    blocks = [re.findall(r"```bash\n(.*?)```", part, flags=re.DOTALL) for part in parts]
    commands = "\n".join([blocks[0][0], *blocks[1]])
    assert "MAIL_URL=file:var/mail EMAIL_VERIFICATION=required ./scripts/run.sh" in parts[1]
    settings = environ | {"MAIL_URL": f"file:{tmp_path}/var/mail", "EMAIL_VERIFICATION": "required"}
    with Product(settings, folder=tmp_path) as product:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace("http://127.0.0.1:8000", product.url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    position = 0
    for expected in ('"accepted"', "204", '"csrf_token"', '"accepted"', "204", '"not_signed_in"', '"csrf_token"'):
        position = done.stdout.index(expected, position) + len(expected)


def test_the_documented_calls_work_as_printed(environ: dict[str, str], tmp_path: Path) -> None:
    with Product(environ, folder=tmp_path) as product:
        document = requests.get(f"{product.url}/openapi.json", timeout=10).json()
        samples = {
            operation["operationId"]: operation["x-codeSamples"][0]["source"].replace(
                "http://127.0.0.1:8000", product.url
            )
            for path in document["paths"].values()
            for operation in path.values()
            if isinstance(operation, dict)
        }
        names = ("register", "log_in", "update_me", "get_me", "log_out", "get_me")
        script = "\n".join(f"{samples[name]} -s -w '\\n%{{http_code}}\\n'" for name in names)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert re.findall(r"^\d{3}$", done.stdout, flags=re.MULTILINE) == ["201", "200", "200", "200", "204", "401"]
