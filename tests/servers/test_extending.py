"""docs/extending.md from an empty folder: every file is written and every command run, as printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatehouse.testing.servers.ports import find_free_port
from gatehouse.testing.servers.waiting import wait_until

from .harness.documents import read_blocks

if TYPE_CHECKING:
    from typing import Self

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sysconfig.get_path("purelib")
BLOCK_SECONDS = 120
SERVE = "python -m gatehouse\n"
# What pip would have made, had it not found Flask among the packages of the tests' own environment.
FLASK = "#!{python}\nfrom flask.cli import main\nmain()\n"


class Terminal:
    """A shell in a folder, in which blocks of commands are run one after the other; the first that fails ends it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self._log = folder.with_suffix(".log")
        self._blocks = 0
        with self._log.open("wb") as output:
            self._shell = subprocess.Popen(
                ["bash", "-euo", "pipefail"],
                cwd=folder,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)  # not reaped yet, so that the number is still its
        self._shell.communicate()

    def run(self, commands: str) -> str:
        """Run ``commands`` and return what they printed.

        Raises:
            AssertionError: one of them failed; with all that was printed so far.
        """
        self._blocks += 1
        begin, end = len(self._log.read_text()), f"\n== {self._blocks} ==\n"
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{commands}\nprintf '%s' '{end}'\n".encode())
        self._shell.stdin.flush()
        wait_until(
            lambda: end in self._log.read_text() or self._has_ended(), within_seconds=BLOCK_SECONDS, what=commands
        )
        printed = self._log.read_text()
        assert end in printed, f"{commands}\nfailed:\n{printed}"
        return printed[begin:].removesuffix(end)

    def _has_ended(self) -> bool:
        # Without reaping it.
        return os.waitid(os.P_PID, self._shell.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1) as response:  # noqa: S310 - our own URL
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.server("postgresql")
@pytest.mark.server("mariadb")
@pytest.mark.timeout(300)
def test_an_extension_is_built_from_an_empty_folder_as_printed(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    folder = tmp_path / "acme"
    folder.mkdir()
    (tmp_path / "gatehouse").symlink_to(ROOT)
    environ = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.base_prefix, 'bin')}:{os.environ['PATH']}",
        "PORT": url.rpartition(":")[2],
        # All that is needed is there already, and nothing is asked of the network.
        "PYTHONPATH": PACKAGES,
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which pip takes for "no isolation"
    }
    printed = ""
    with Terminal(folder, environ) as terminal:
        for block in read_blocks((ROOT / "docs" / "extending.md").read_text()):
            if block.path is not None:
                (folder / block.path).write_text(block.text)
                continue
            assert block.language == "bash", f"neither a file nor commands:\n{block.text}"
            commands = block.text.replace("http://127.0.0.1:8000", url)
            printed += terminal.run(commands.replace(SERVE, f"{SERVE.strip()} &\n"))
            if "-m venv" in commands:
                lend_packages(folder / ".venv")
                terminal.run("unset PYTHONPATH")
            if SERVE in commands:
                wait_until(lambda: is_ready(url), within_seconds=30, what="the extended product to serve")
    for expected in ('"2026-1"', "4 passed"):
        assert expected in printed, printed


def lend_packages(environment: Path) -> None:
    """Let an environment use the packages of this one."""
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(f"{PACKAGES}\n")
    script = environment / "bin" / "flask"
    script.write_text(FLASK.format(python=environment / "bin" / "python"))
    script.chmod(0o755)
