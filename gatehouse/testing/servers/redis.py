"""Real Redis servers for tests and benchmarks: free loopback ports, folders of their own, always stopped by pid."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError

from .processes import ServerMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVER = "redis-server"
START_TIMEOUT_SECONDS = 20.0
_taken_ports: set[int] = set()


def find_free_port() -> int:
    """Return a loopback port that nobody has, and that this process has not given out before.

    It lies below the ports that the system gives to outgoing connections, which could take it between here and the
    start of the server; the port 10,000 above it, where a cluster's bus listens, is free too.
    """
    while True:
        port = random.randrange(10_000, 22_000)  # noqa: S311 - a port is no secret
        if port in _taken_ports:
            continue
        try:
            for one in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", one))
        except OSError:
            continue
        _taken_ports.add(port)
        return port


def wait_until(is_so: Callable[[], bool], *, seconds: float = START_TIMEOUT_SECONDS, what: str = "it") -> None:
    """Return as soon as ``is_so``.

    Raises:
        TimeoutError: it was not so within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(RedisError, OSError):
            if is_so():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(0.01)


@dataclass(eq=False)
class RedisServer:
    """One server process; its own folder is removed when it stops."""

    options: tuple[str, ...] = ()
    port: int = 0
    tls: dict[str, str] = field(default_factory=dict)
    password: str | None = None
    is_sentinel: bool = False
    folder: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if shutil.which(SERVER) is None:
            raise ServerMissing("redis", "redis-server")
        self.folder = Path(tempfile.mkdtemp(prefix="gatehouse-redis-"))
        self.port = self.port or find_free_port()

    @property
    def url(self) -> str:
        """What ``RATELIMIT_STORAGE_URI`` is to be."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """The unix socket that the server listens on."""
        return self.folder / "redis.sock"

    def start(self) -> RedisServer:
        """Start the server and return when it answers."""
        self.launch()
        wait_until(self.is_answering, what=f"the start of {SERVER}")
        return self

    def launch(self) -> None:
        """Start the server, and do not wait."""
        port = ["--port", "0", "--tls-port", str(self.port)] if self.tls else ["--port", str(self.port)]
        if self.is_sentinel:
            config = self.folder / "sentinel.conf"
            if not config.exists():
                config.write_text("\n".join(["bind 127.0.0.1", f"port {self.port}", *self.options]) + "\n")
            arguments = [SERVER, str(config), "--sentinel"]
        else:
            arguments = [
                SERVER, *port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder),
                "--unixsocket", str(self.socket_path), "--repl-diskless-sync-delay", "0", *self.options,
            ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=self.folder)

    def client(self, **arguments: object) -> Redis:
        """Return a client for the tests' own questions."""
        tls = {"ssl": True, "ssl_ca_certs": self.tls["ca"]} if self.tls else {}
        if self.tls.get("client_cert"):
            tls |= {"ssl_certfile": self.tls["client_cert"], "ssl_keyfile": self.tls["client_key"]}
        merged: dict[str, object] = {"socket_timeout": 5, "password": self.password, **tls, **arguments}
        return Redis(host="localhost" if self.tls else "127.0.0.1", port=self.port, **merged)  # type: ignore[arg-type] # by name

    def is_answering(self) -> bool:
        """Say whether the server answers."""
        with self.client() as client:
            return bool(client.ping())

    def freeze(self) -> None:
        """Stop the process without ending it: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process with no chance to say goodbye."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End the process, frozen or not, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


@contextlib.contextmanager
def running(*options: str, **arguments: object) -> Iterator[RedisServer]:
    """Yield a server that runs inside the block."""
    server = RedisServer(options, **arguments)  # type: ignore[arg-type] # RedisServer's own names
    try:
        yield server.start()
    finally:
        server.stop()
