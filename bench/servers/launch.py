"""Serve the comparison's application with one server: ``python -m bench.servers.launch NAME PORT WORKERS THREADS``.

waitress and cheroot know one process only: there, a plain parent forks the workers, each on the one listening socket.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

HOST = "127.0.0.1"
TARGET = "bench.servers.target:create_app"


def run_granian(port: int, workers: int, threads: int) -> None:
    """Serve with Granian, HTTP/1 only."""
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    Server(
        TARGET,
        address=HOST,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=threads,
        http=HTTPModes.http1,
        factory=True,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    ).serve()


def run_gunicorn(port: int, workers: int, threads: int) -> None:
    """Serve with gunicorn's threaded worker."""
    arguments = ["--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads)]
    arguments += ["--bind", f"{HOST}:{port}", "--log-level", "warning", "--no-control-socket", f"{TARGET}()"]
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments])


def _fork(workers: int) -> None:
    """Return in each worker; the parent forwards SIGTERM, waits for all and leaves."""
    children: list[int] = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            return
        children.append(child)

    def stop(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    os._exit(max(os.waitstatus_to_exitcode(status) != 0 for status in statuses))


def _listen(port: int) -> socket.socket:
    listener = socket.create_server((HOST, port), backlog=1024)
    listener.settimeout(0)
    return listener


def run_waitress(port: int, workers: int, threads: int) -> None:
    """Serve with waitress."""
    from waitress.server import create_server

    from bench.servers.target import create_app

    listener = _listen(port)
    _fork(workers)
    server = create_server(create_app(), sockets=[listener], threads=threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run()


def run_cheroot(port: int, workers: int, threads: int) -> None:
    """Serve with cheroot."""
    from cheroot import wsgi

    from bench.servers.target import create_app

    _fork(workers)
    server = wsgi.Server((HOST, port), create_app(), numthreads=threads, reuse_port=workers > 1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    server.safe_start()


def run_gatehouse(port: int, workers: int, threads: int) -> None:
    """Serve with the product's own module, over whichever server was chosen."""
    from app.server.master import serve
    from bench.servers.target import create_app

    serve(create_app, host=HOST, port=port, workers=workers, threads=threads, max_body_bytes=1024 * 1024)


if __name__ == "__main__":
    globals()[f"run_{sys.argv[1]}"](*map(int, sys.argv[2:5]))
