"""One call of the application, made on a working thread and no faster than its client reads."""

import contextvars
import logging
from collections.abc import Iterator
from typing import Any, Final
from wsgiref.types import WSGIApplication

from gunicorn.config import Config
from gunicorn.http import wsgi

from .connection import Connection
from .draining import is_draining
from .refusals import refuse

MAX_UNREAD_BYTES: Final = 256 * 1024
"""How much of an answer may wait for its client before the application has to pause."""

logger = logging.getLogger(__name__)


class Answer:
    """The application's answer to one request.

    ``advance`` returns when all of it is made, or when the client has enough to read for now, so that a slow reader of
    a long answer occupies no thread. Its pieces may be made on different threads, but in one ``contextvars`` context.
    """

    def __init__(self, application: WSGIApplication, cfg: Config, request: Any, connection: Connection) -> None:  # noqa: ANN401 - gunicorn ships no types
        self._application = application
        self._cfg = cfg
        self._request = request
        self._connection = connection
        self._context = contextvars.Context()
        self._response: Any = None
        self._result: Any = None
        self._pieces: Iterator[bytes] | None = None
        self._sent_before = connection.outgoing.sent
        self.is_finished = False
        self.is_cut = False
        self.keeps_alive = False

    def advance(self) -> None:
        """Make as much of the answer as may wait for the client."""
        self._context.run(self._run, self._produce)

    def abandon(self) -> None:
        """Let the application clean up after an answer that its client no longer reads."""
        self.is_cut = True
        self._context.run(self._run, self._end)

    def _run(self, step: Any) -> None:  # noqa: ANN401 - a method of this class
        try:
            step()
        except (Exception, SystemExit) as error:
            # Whatever the application raises ends only this answer.
            outgoing = self._connection.outgoing
            self.is_finished = True
            self.keeps_alive = False
            self.is_cut = self.is_cut or outgoing.is_broken or outgoing.sent > self._sent_before
            if self.is_cut:
                logger.exception("an answer was cut off")
                if self._response is not None and not self._response.chunked:
                    self._connection.reset_on_close()
            else:
                outgoing.clear()
                outgoing.sendall(refuse(error))
                outgoing.flush()

    def _produce(self) -> None:
        outgoing = self._connection.outgoing
        if self._pieces is None:
            self._begin()
        assert self._pieces is not None  # noqa: S101 - narrows the type
        for piece in self._pieces:
            self._response.write(piece)
            outgoing.flush()
            if outgoing.size > MAX_UNREAD_BYTES:
                return
            if outgoing.is_broken:
                break
        self._response.close()
        outgoing.flush()
        self.keeps_alive = not self._response.should_close()
        self._end()

    def _begin(self) -> None:
        if is_draining():
            # While the server drains, a kept-alive connection ends with its next answer.
            self._request.force_close()
        connection = self._connection
        self._response, environ = wsgi.create(
            self._request, connection.outgoing, connection.client, connection.server, self._cfg
        )
        environ["wsgi.multithread"] = True
        self._result = self._application(environ, self._response.start_response)
        self._pieces = iter(self._result)

    def _end(self) -> None:
        self.is_finished = True
        result, self._result = self._result, None
        if hasattr(result, "close"):
            result.close()
