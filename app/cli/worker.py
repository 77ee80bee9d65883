"""``worker``: send mail and clean up, beside the server."""

import signal
from types import FrameType

import click
from flask import Flask, current_app

from app.worker import Worker

from .terminal import OperatorCommand, Report


@click.command("worker", cls=OperatorCommand)
def worker_command() -> Report:
    """Send mail that waits and clean up, until SIGTERM or SIGINT; several workers share the work.

    What is being sent then is finished first; a second signal ends it at once.
    """
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - Flask's public name for it
    worker = Worker(app)

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    worker.run()
    return Report(dict(worker.counts), [f"{state}: {count}" for state, count in sorted(worker.counts.items())])
