"""The process that starts, replaces and stops the workers."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import signal
import sys
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from .draining import set_draining
from .listener import SETTLE_SECONDS, stop_handshakes
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from wsgiref.types import WSGIApplication

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the usual minute of a load balancer, which has to be the one that closes an idle connection."""

SILENT_WORKER_SECONDS: Final = 15
"""After how long a worker whose loop stands still is replaced; it turns at least once a second."""

STOPPED_SECONDS: Final = 1.0
"""After how long a worker that a signal has stopped is replaced."""

HURRIED_SECONDS: Final = 2
"""How long workers have to end when somebody asked twice; those that did not are killed."""

MAX_CONNECTIONS: Final = 10_000
"""Open connections of a worker, where there are as many file descriptors."""

OWN_FILES: Final = 128
"""File descriptors of a worker that are kept for everything else: database, Redis, files."""


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

    Each of the ``workers`` builds the application for itself and calls it on at most ``threads`` threads. A worker that
    dies is replaced. SIGTERM: ``is_draining`` turns true everywhere; for ``shutdown_delay`` seconds all is served as
    before, so that load balancers notice; then nobody new is let in, and requests have ``shutdown_timeout`` seconds to
    end. SIGINT does the same without the delay. A second signal ends everything at once. SIGHUP replaces the workers.

    Args:
        app_factory: called once in each worker.
        host: the address to listen on.
        port: the port to listen on.
        workers: processes.
        threads: threads of a worker that call the application.
        max_body_bytes: longer bodies are handed to the application unread, for it to refuse them.
        shutdown_delay: seconds between SIGTERM and the end of accepting.
        shutdown_timeout: seconds after which requests that did not end are cut off.
        is_reloading: replace the workers when the code changes.

    Raises:
        SystemExit: always; 1 when the address cannot be had, 3 when the application cannot be built.
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
        # Where a slow disk holds up nobody's sign of life.
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108 - gunicorn makes it safely
        "graceful_timeout": math.ceil(shutdown_timeout),
        "reload": is_reloading,
        "backlog": 4096,
        "logger_class": _Log,
        "errorlog": None,
        "accesslog": None,
        # gunicorn believes X-Forwarded-Proto from loopback, whatever TRUSTED_PROXIES says, and asks the environment.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        "control_socket_disable": True,
    }
    _Application(app_factory, options, max_body_bytes=max_body_bytes, shutdown_delay=shutdown_delay).run()


def _count_connections() -> int:
    """Return how many connections a worker may have open, with as many file descriptors as can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OWN_FILES
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, max(soft - OWN_FILES, soft // 2))


def _is_stopped(pid: int) -> bool:
    """Say whether a signal has stopped that child; only Linux tells without forgetting it."""
    if sys.platform != "linux":
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


class _Log(Logger):  # type: ignore[misc] # gunicorn ships no types
    """Sends gunicorn's log where the product's goes."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
        """Pass every record on to the root logger."""
        super().setup(cfg)
        self.error_log.propagate = True


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    """What gunicorn needs to know."""

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
        """Set the options; no file, argument or variable of gunicorn's own is read."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Build the application; the garbage collector leaves alone what it consists of.

        Going through all of it once in a while would hold every thread up for some 60 ms.
        """
        application = self._app_factory()
        gc.collect()
        gc.freeze()
        return application

    def run(self) -> None:
        """Serve until a signal comes."""
        _Master(self).run()


class _Master(Arbiter):  # type: ignore[misc] # gunicorn ships no types
    """Stops in two phases: not ready yet serving, then letting nobody in."""

    _is_stopping = False
    _is_hurried = False
    _stopped_since: Mapping[int, float] = MappingProxyType({})

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal. Whoever asks twice to stop wants it now."""
        if sig in {signal.SIGTERM, signal.SIGINT}:
            self._is_hurried = self._is_stopping
            self._is_stopping = True
        super().signal(signal.SIGQUIT if self._is_hurried else sig, frame)

    def handle_term(self) -> None:
        """Drain, after a delay in which load balancers notice.

        Raises:
            StopIteration: always; gunicorn stops then.
        """
        set_draining(is_draining=True)
        until = time.monotonic() + self.app.shutdown_delay
        while not self._is_hurried and (seconds := until - time.monotonic()) > 0:
            self.wait_for_signals(timeout=min(seconds, 1.0))
            self.murder_workers()
            self.reap_workers()
            self.manage_workers()
        raise StopIteration

    def handle_int(self) -> None:
        """Drain without a delay: nobody at a terminal has a load balancer.

        Raises:
            StopIteration: always; gunicorn stops then.
        """
        set_draining(is_draining=True)
        raise StopIteration

    def murder_workers(self) -> None:
        """Kill workers that stand still, so that they are replaced."""
        super().murder_workers()
        stopped = {pid for pid in self.WORKERS if _is_stopped(pid)}
        now = time.monotonic()
        self._stopped_since = {pid: self._stopped_since.get(pid, now) for pid in stopped}
        for pid, since in self._stopped_since.items():
            if now - since >= STOPPED_SECONDS:
                # Its clients wait, and others for what it has locked. It hears no other signal.
                self.log.error("worker %s was stopped (SIGSTOP) and is replaced", pid)
                self.kill_worker(pid, signal.SIGKILL)

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop the workers, letting requests end unless there is no time."""
        if self._is_hurried:
            # A worker that is just booting does not hear a signal yet: it is not waited for any longer than this.
            self.cfg.set("graceful_timeout", HURRIED_SECONDS)
        # A listener that systemd or a successor goes on using must stay open for them.
        is_shared = self.systemd or self.reexec_pid or self.master_pid
        if graceful and not self._is_hurried and not is_shared and stop_handshakes(self.LISTENERS):
            time.sleep(SETTLE_SECONDS)
        super().stop(graceful and not self._is_hurried)
