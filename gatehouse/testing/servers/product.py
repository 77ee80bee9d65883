"""The product itself as a process of its own, on a free port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .ports import find_free_port
from .processes import list_tree
from .waiting import wait_until

if TYPE_CHECKING:
    from typing import Self

_PACKAGE: Final = Path(__file__).resolve().parents[2]
# In a clone the server is run.py, beside our package; a wheel holds it as the package's main module.
_MODULE: Final = "gatehouse" if (_PACKAGE / "__main__.py").exists() else "run"
START_SECONDS = 30.0
STOP_SECONDS = 30.0


class Product:
    """The server, as an operator starts it. Use it in a ``with`` block: it has stopped afterwards."""

    def __init__(self, environ: dict[str, str], *, folder: Path, root: Path | None = None) -> None:
        """Prepare to serve with ``environ``; the log goes into ``folder``.

        ``root`` is a copy of the clone to serve instead of what is imported here.
        """
        self.root = root or (_PACKAGE.parent if _MODULE == "run" else folder)
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
        self.environ = inherited | environ | {"PORT": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            command = [sys.executable, "-m", _MODULE]
            self._process = subprocess.Popen(command, cwd=self.root, env=self.environ, stdout=output, stderr=output)
        wait_until(self._is_ready, within_seconds=START_SECONDS, what=f"the product to serve, see {self.log}")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send_signal(self, number: signal.Signals) -> None:
        """Send the server's first process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def worker_pids(self) -> list[int]:
        """The ids of the processes that serve."""
        assert self._process is not None
        return list_tree(self._process.pid)[1:]

    def migrate(self) -> None:
        """Bring the database's schema up to date."""
        command = [sys.executable, "-m", "flask", "--app", _MODULE, "db", "upgrade"]
        subprocess.run(command, cwd=self.root, env=self.environ, check=True, capture_output=True)

    def stop(self) -> int:
        """End the server as an operator does and return its exit code."""
        assert self._process is not None
        self.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the product ended: {self.log.read_text()}")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as response:  # noqa: S310 - our own URL
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
