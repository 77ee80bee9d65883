"""Programs under measurement: started, asked whether they answer, weighed and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatehouse.testing.servers.ports import find_free_port
from gatehouse.testing.servers.processes import list_tree
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

ROOT: Final = Path(__file__).resolve().parent.parent
WORKERS: Final = 2
THREADS: Final = 4
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 3.0
# Of a tenth of a second.
REST_CPU_SECONDS: Final = 0.011


class Program:
    """A server in a session of its own. Use it in a ``with`` block: it answers inside and is gone afterwards."""

    def __init__(self, command: Sequence[str], *, environ: Mapping[str, str], log: Path, path: str = "/livez") -> None:
        """Prepare to run ``command``, in which ``{port}`` stands for the port; ``path`` tells when it answers."""
        self.port = find_free_port()
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
        self._environ = inherited | {"PORT": str(self.port), "PYTHONPATH": str(ROOT)} | dict(environ)
        self._log = log
        self._path = path
        self.start_seconds = 0.0
        self._started: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        begun_at = time.perf_counter()
        with self._log.open("wb") as output:
            self._started = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environ, stdout=output, stderr=output, start_new_session=True
            )
        try:
            wait_until(self._is_answering, within_seconds=START_SECONDS, what=f"{self._command}, see {self._log}")
        except BaseException:
            self.__exit__()
            raise
        self.start_seconds = time.perf_counter() - begun_at
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its first process."""
        assert self._started is not None
        return self._started

    def measure_cpu_seconds(self) -> float:
        """Return how long all its processes together have run."""
        ticks = 0
        for pid in list_tree(self.process.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Return when its processes rest: what clients have left behind is done."""
        last = -1.0
        until = time.monotonic() + SETTLE_SECONDS
        while (now := self.measure_cpu_seconds()) > last + REST_CPU_SECONDS and time.monotonic() < until:
            last = now
            time.sleep(0.1)

    def measure_memory_mib(self) -> float:
        """Return the proportional set size of all its processes together, in MiB."""
        total_kib = 0
        for pid in list_tree(self.process.pid):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total_kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total_kib / 1024

    def _is_answering(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self._command} ended: {self._log.read_text()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self._path}", timeout=1):
                return True
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
