"""``flask worker`` as a process of its own, and a mail server that takes its time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from app.config import ROOT

from .smtp import MailServer

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

STOP_SECONDS = 30.0


class WorkerProcess:
    """A worker, as an operator starts it. Use it in a ``with`` block: it has ended afterwards."""

    def __init__(self, environ: dict[str, str], *, folder: Path, name: str = "worker") -> None:
        inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TMPDIR"}}
        self._environ = inherited | {"FLASK_SKIP_DOTENV": "1"} | environ
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "flask", "--app", "run", "worker", "--json"]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environ, stdout=subprocess.PIPE, stderr=log, text=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._get_process().poll() is None:
            self.kill()

    def has_begun(self) -> bool:
        """Say whether it looks for mails."""
        return "the worker has begun" in self.log.read_text()

    def kill(self) -> None:
        """End it as a power cut would."""
        process = self._get_process()
        process.kill()
        process.communicate(timeout=STOP_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, dict[str, int]]:
        """Ask it to end, and return its exit code and how many mails it left in which state."""
        process = self._get_process()
        process.send_signal(number)
        output, _ = process.communicate(timeout=STOP_SECONDS)
        return process.returncode, json.loads(output)

    def _get_process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process


class SlowMailServer(MailServer):
    """Takes each mail at once, and says so ``seconds`` later."""

    seconds = 0.0

    @property
    def url(self) -> str:
        """Where it listens, as ``MAIL_URL`` has it."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def count(self) -> int:
        """How many mails it took."""
        return len(self._taken)

    # No property: the library looks at every attribute for each connection, and would have all mails read.
    def list_ids(self) -> list[str]:
        """Return the ids of the mails that it took, oldest first."""
        return [str(mail["Message-ID"]) for mail in self.messages()]

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - the library's
        """Take the mail."""
        reply = await super().handle_DATA(server, session, envelope)
        await asyncio.sleep(self.seconds)
        return reply
