"""A server's process and its children: started as an ordinary user, stopped, frozen and killed by their ids."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STOP_SECONDS = 20.0
SHOWN_LINES = 100
# Its input ends when the tests' process does, however that ended. SIGQUIT ends PostgreSQL's children too.
WATCH = 'cat >/dev/null; kill -QUIT "$0"; sleep 2; kill -KILL "$0"; rm -rf "$1"'

_templates: dict[str, Path] = {}  # folders to copy, by the servers' name


class ServerMissing(Exception):
    """A server is not installed on this machine."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(
            f"{name} is not installed here: apt-get install {package}, or leave out what needs it: --without {name}"
        )


def find_program(name: str, *folders: str) -> Path | None:
    """Return the program's path, looked for in ``folders`` (newest version first) and then in ``PATH``."""
    candidates = [path for folder in folders for path in sorted(Path("/").glob(folder.lstrip("/")), reverse=True)]
    for folder in candidates:
        if (folder / name).is_file():
            return folder / name
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def list_tree(pid: int) -> list[int]:
    """Return ``pid`` and the ids of its descendants, parents first."""
    table = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in table.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    tree = [pid]
    for parent in tree:
        tree += children.get(parent, [])
    return tree


class ServerProcess:
    """A server with a folder of its own, owned by the system user that it runs as.

    Database servers refuse to run as root; where the tests run as root, ``system_user`` takes its place.
    """

    def __init__(self, name: str, system_user: str) -> None:
        self.name = name
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(system_user)
            self._identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.folder = self._make_folder(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._tree: list[int] = []
        atexit.register(self.remove)

    def give(self, path: Path, *, mode: int = 0o600) -> Path:
        """Hand a file that the test made to the server's user."""
        path.chmod(mode)
        if self._identity:
            os.chown(path, self._identity["user"], self._identity["group"])
        return path

    def fill(self, data: Path, make: Callable[[], object]) -> None:
        """Have ``make`` fill the folder ``data``, for the first server of its name in this process; copy it for others.

        Making it takes a second, and depends on nothing that servers of one name may differ in.
        """
        if self.name in _templates:
            self.run(["cp", "-Rp", _templates[self.name], data])
            return
        make()
        folder = self._make_folder(f"{self.name}-template")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.run(["cp", "-Rp", data, folder])
        _templates[self.name] = folder / data.name

    def run(self, command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as the server's user.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._identity,
            **options,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def launch(self, command: Sequence[str | Path]) -> None:
        """Start the server; what it prints goes to its log."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity,
            )
        self._dismiss_watcher()
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCH, str(self.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def log_path(self) -> Path:
        """The file that the server's own words go to."""
        return self.folder / "server.log"

    @property
    def log(self) -> str:
        """Everything that the server has said."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        """The id of the server's main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the main process is there."""
        return self._process is not None and self._process.poll() is None

    def has_ended(self, *, within_seconds: float = 0.0) -> bool:
        """Say whether the server was started and has ended, though nobody here stopped or killed it."""
        if self._process is None:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_seconds)
        return not self.is_running

    def describe_end(self) -> str:
        """Return how a server that has ended did so, and the end of its log."""
        assert self._process is not None
        status = self._process.returncode
        cause = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        lines = self.log.splitlines()[-SHOWN_LINES:]
        return f"{self.name} ended by itself, {cause}. The end of its log:\n" + "\n".join(lines)

    def freeze(self) -> None:
        """Stop the server and its children in their tracks (SIGSTOP): connections stay open and silent."""
        # The parent first: a child that it forked while they were listed would go on answering.
        self._signal([self.pid], signal.SIGSTOP)
        self._tree = list_tree(self.pid)
        self._signal(self._tree, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(self._tree, signal.SIGCONT)

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL), children included."""
        if self._process is None:
            return
        self._signal(list_tree(self.pid) if self.is_running else [], signal.SIGKILL)
        self._dismiss_watcher()
        self._process.wait(STOP_SECONDS)
        self._process = None

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        """End the server in good order, or by force where it does not listen."""
        if self._process is None:
            return
        self.thaw()
        if self.is_running:
            self._process.send_signal(stop_signal)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not self.is_running, within_seconds=STOP_SECONDS, what="the server to stop")
        self.kill()

    def remove(self) -> None:
        """End the server, for good and therefore without ceremony, and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)

    def _make_folder(self, name: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        if self._identity:
            os.chown(folder, self._identity["user"], self._identity["group"])
        return folder

    def _dismiss_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None

    @staticmethod
    def _signal(pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
