"""The extensions of one application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from app.utils import describe_stack

from .extension import Extension

logger = logging.getLogger(__name__)


class Extensions:
    """The extensions that one application has, in the order of its list."""

    def __init__(self, listed: Sequence[Extension] = ()) -> None:
        self.listed = tuple(listed)
        self.failing: set[str] = set()
        """The names of those whose hook failed the last time that it was asked."""

    def __iter__(self) -> Iterator[Extension]:
        return iter(self.listed)

    def collect(self, ask: Callable[[Extension], Callable[..., Any] | None], *args: Any) -> dict[str, Any]:  # noqa: ANN401 - what hooks take and give
        """Return what the hook that ``ask`` picks says in each extension that has it, by the extension's name.

        One that raises is left out, named in the log and counted as failing; no other hears of it.
        """
        answers: dict[str, Any] = {}
        for extension in self.listed:
            hook = ask(extension)
            if hook is None:
                continue
            try:
                answers[extension.name] = hook(*args)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
                self.failing.add(extension.name)
                logger.error("the extension %s failed", extension.name, extra={"stack": describe_stack(error)})  # noqa: TRY400 - the stack without values
            else:
                self.failing.discard(extension.name)
        return answers
