"""The process that starts, replaces and stops workers."""

import contextlib
import gc
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Any, Final
from wsgiref.types import WSGIApplication

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from .draining import set_draining
from .listener import SETTLE_SECONDS, stop_handshakes
from .worker import Worker

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than a load balancer's usual minute: the balancer should be the one that closes an idle connection."""

SILENT_WORKER_SECONDS: Final = 15
"""After how long a worker is replaced whose loop, which runs at least once a second, hangs."""

STOPPED_SECONDS: Final = 1.0
"""After how long a worker that a signal has stopped is replaced."""

FORCED_SECONDS: Final = 2
"""How long workers have to end after a second signal before they are killed."""

MAX_CONNECTIONS: Final = 10_000
"""How many connections a worker may have open, file descriptors permitting."""

RESERVED_FILES: Final = 128
"""How many file descriptors a worker keeps for everything else: database, Redis, files."""


def serve(
    app_factory: Callable[[], WSGIApplication],
    *,
    host: str,
    port: int,
    workers: int,
    threads: int,
    max_body_bytes: int,
    shutdown_delay: float = 0.0,
    shutdown_timeout: float = 30.0,
    is_reloading: bool = False,
) -> None:
    """Serve what ``app_factory`` returns on ``host``:``port`` until a signal ends the process, with exit code 0.

    Each of the ``workers`` builds the application for itself and calls it on at most ``threads`` threads; a body longer
    than ``max_body_bytes`` reaches it cut off, so that it refuses the request. A worker that dies is replaced.

    SIGTERM: ``is_draining`` turns true everywhere; for ``shutdown_delay`` seconds requests are served as before, so
    that load balancers notice; then no connection is accepted, and requests have ``shutdown_timeout`` seconds to end.
    SIGINT does the same without the delay. A second signal ends everything at once. SIGHUP replaces the workers, and
    so does changed code with ``is_reloading``.

    Raises:
        SystemExit: always; 1 when the server cannot listen there, 3 when the application cannot be built.
    """
    set_draining(is_draining=False)
    options = {
        "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "workers": workers,
        "threads": threads,
        "worker_class": Worker,
        "worker_connections": _count_connections(),
        "keepalive": KEEP_ALIVE_SECONDS,
        "timeout": SILENT_WORKER_SECONDS,
        # A slow disk must not delay the heartbeats of the workers.
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108 - gunicorn makes it safely
        "graceful_timeout": math.ceil(shutdown_timeout),
        "reload": is_reloading,
        "backlog": 4096,
        "logger_class": _Log,
        "errorlog": None,
        "accesslog": None,
        # By default gunicorn trusts X-Forwarded-Proto from loopback, whatever TRUSTED_PROXIES says.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        "control_socket_disable": True,
    }
    # Workers share with this process what it has loaded, as long as none of them writes to it: the collector does.
    gc.freeze()
    _Application(app_factory, options, max_body_bytes=max_body_bytes, shutdown_delay=shutdown_delay).run()


def _count_connections() -> int:
    """Raise the limit of file descriptors as far as needed, and return how many connections a worker may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_FILES
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, max(soft - RESERVED_FILES, soft // 2))


def _is_stopped(pid: int) -> bool:
    """Say whether a signal has stopped that child; only Linux can be asked without consuming the event."""
    if sys.platform != "linux":
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


class _Log(Logger):  # type: ignore[misc] # gunicorn ships no types
    """Sends gunicorn's log to the application's."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
        """Pass every record on to the root logger."""
        super().setup(cfg)
        self.error_log.propagate = True


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    """The application and the options, as gunicorn asks for them."""

    def __init__(
        self,
        app_factory: Callable[[], WSGIApplication],
        options: dict[str, object],
        *,
        max_body_bytes: int,
        shutdown_delay: float,
    ) -> None:
        self._app_factory = app_factory
        self._options = options
        self.max_body_bytes = max_body_bytes
        self.shutdown_delay = shutdown_delay
        super().__init__()

    def load_config(self) -> None:
        """Set the options; gunicorn reads no file, argument or variable of its own."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Build the application, and exempt its objects from garbage collection.

        Scanning all of them from time to time would stop every thread for about 60 ms.
        """
        application = self._app_factory()
        gc.collect()
        gc.freeze()
        return application

    def run(self) -> None:
        """Serve until a signal comes."""
        _Master(self).run()


class _Master(Arbiter):  # type: ignore[misc] # gunicorn ships no types
    """Stops in two phases: first not ready but still serving, then accepting no connections."""

    _is_stopping = False
    _is_forced = False
    _stopped_since: Mapping[int, float] = MappingProxyType({})

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Queue a signal; the second one that asks to stop means at once."""
        if sig in {signal.SIGTERM, signal.SIGINT}:
            self._is_forced = self._is_stopping
            self._is_stopping = True
        super().signal(signal.SIGQUIT if self._is_forced else sig, frame)

    def handle_term(self) -> None:
        """Drain, after a delay that lets load balancers notice.

        Raises:
            StopIteration: always; gunicorn stops then.
        """
        set_draining(is_draining=True)
        until = time.monotonic() + self.app.shutdown_delay
        while not self._is_forced and (seconds := until - time.monotonic()) > 0:
            self.wait_for_signals(timeout=min(seconds, 1.0))
            self.murder_workers()
            self.reap_workers()
            self.manage_workers()
        raise StopIteration

    def handle_int(self) -> None:
        """Drain without a delay: at a terminal there is no load balancer.

        Raises:
            StopIteration: always; gunicorn stops then.
        """
        set_draining(is_draining=True)
        raise StopIteration

    def murder_workers(self) -> None:
        """Kill workers that hang or were stopped, so that they are replaced."""
        super().murder_workers()
        stopped = {pid for pid in self.WORKERS if _is_stopped(pid)}
        now = time.monotonic()
        self._stopped_since = {pid: self._stopped_since.get(pid, now) for pid in stopped}
        for pid, since in self._stopped_since.items():
            if now - since >= STOPPED_SECONDS:
                # Its clients wait, and so does whoever needs its locks. A stopped process handles no other signal.
                self.log.error("worker %s was stopped (SIGSTOP) and is replaced", pid)
                self.kill_worker(pid, signal.SIGKILL)

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop the workers, letting requests end unless there is no time."""
        if self._is_forced:
            # A worker that is still booting handles no signal: it is waited for no longer than this.
            self.cfg.set("graceful_timeout", FORCED_SECONDS)
        # A listener that systemd or a successor uses must go on accepting.
        is_shared = self.systemd or self.reexec_pid or self.master_pid
        if graceful and not self._is_forced and not is_shared and stop_handshakes(self.LISTENERS):
            time.sleep(SETTLE_SECONDS)
        super().stop(graceful and not self._is_forced)
