"""Asking extensions how they are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Final

from flask import Flask

from app.utils import describe_stack

from .extension import Extension

logger = logging.getLogger(__name__)

HEALTH_SECONDS: Final = 1.0
"""How long an answer about the health of all extensions together is waited for."""


class HealthCheck:
    """The check of one extension, in a thread of its own: one that hangs holds that thread, and nothing else.

    It is not asked again before it has answered, so there is never a second thread.
    """

    def __init__(self, extension: Extension) -> None:
        self._extension = extension
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._fault: str | None = None
        self._told: str | None = None

    def begin(self, app: Flask) -> None:
        """Have the check asked, unless it has not answered yet."""
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                name = f"health-{self._extension.name}"
                self._thread = threading.Thread(target=self._ask, args=(app,), name=name, daemon=True)
                self._thread.start()

    def is_well(self, *, deadline: float) -> bool:
        """Say whether it finds nothing wrong, and answers before ``deadline`` (``time.monotonic()``)."""
        thread = self._thread
        if thread is None:
            return False
        thread.join(max(0.0, deadline - time.monotonic()))
        fault = "its check does not answer" if thread.is_alive() else self._fault
        # Load balancers ask every few seconds.
        if fault != self._told:
            self._told = fault
            if fault is None:
                logger.info("the extension %s is well again", self._extension.name)
            else:
                logger.error("the extension %s is failing: %s", self._extension.name, fault)
        return fault is None

    def _ask(self, app: Flask) -> None:
        check = self._extension.check_health
        try:
            with app.app_context():
                self._fault = None if check is None else check()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the extension's fault, and ends this thread
            self._fault = f"its check raised {type(error).__name__}"
            logger.debug("a health check failed", extra={"stack": describe_stack(error)})


def find_ailing(checks: Iterable[HealthCheck], app: Flask) -> set[HealthCheck]:
    """Return those of ``checks`` that find something wrong or say nothing for ``HEALTH_SECONDS``; all run at once."""
    begun = list(checks)
    for check in begun:
        try:
            check.begin(app)
        except RuntimeError:  # no more threads for now, or the process is about to end
            logger.debug("a health check could not begin")
    deadline = time.monotonic() + HEALTH_SECONDS
    return {check for check in begun if not check.is_well(deadline=deadline)}
