"""Collect the bytes of a connection until they are a whole request, by the verdict of gunicorn's strict parser."""

import io
from typing import Any, Final

from gunicorn.asgi.parser import ParseError, PythonProtocol
from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import ChunkMissingTerminator, InvalidHeader, LimitRequestHeaders, NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

MAX_HEAD_BYTES: Final = 64 * 1024
"""The size of a request line and its headers; gunicorn's own bounds, by line and number, add up to 800 KiB."""

_MAX_CHUNK_OVERHEAD_BYTES: Final = 64 * 1024
_CHUNKED_HEAD: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class _BufferedUnreader(Unreader):  # type: ignore[misc] # gunicorn ships no types
    """Gives the parser the bytes that have arrived."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.buf.write(data)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Report that there is no more.

        Raises:
            NoMoreData: always.
        """
        del size_hint
        raise NoMoreData


class RequestReceiver:
    """The unanswered bytes of one connection. It does no I/O and never waits."""

    def __init__(self, cfg: Config, client: Any, *, max_body_bytes: int) -> None:  # noqa: ANN401 - an address of any family
        self._cfg = cfg
        self._client = client
        self._max_body_bytes = max_body_bytes
        self._received = bytearray()
        self._searched_bytes = 0
        self._request: Any = None
        self._probe: PythonProtocol | None = None
        self._decoded_bytes = 0

    @property
    def size(self) -> int:
        """How many bytes are buffered."""
        return len(self._received)

    @property
    def has_head(self) -> bool:
        """Whether a head has been read and its body is still arriving."""
        return self._request is not None

    def feed(self, data: bytes) -> None:
        """Buffer what has arrived."""
        self._received += data
        if self._probe is not None:
            self._feed_probe(data)

    def take_request(self) -> Any:  # noqa: ANN401 - gunicorn ships no types
        """Return the next request, its whole body as a file in ``body``, or None until all of it has arrived.

        A body longer than ``max_body_bytes`` is cut off one byte beyond that, so that the application refuses it, and
        the request asks for the connection to be closed.

        Raises:
            ParseException: the strict parser refuses the request.
        """
        if self._request is None:
            self._read_head()
        if self._request is None:
            return None
        body = self._take_body(self._request.body.reader)
        if body is None:
            return None
        request, self._request, self._probe, self._decoded_bytes = self._request, None, None, 0
        if len(body) > self._max_body_bytes:
            request.force_close()
        request.body = io.BytesIO(body)
        request._expected_100_continue = False  # noqa: SLF001 - gunicorn would send it although the body is here
        return request

    def take_expectation(self) -> bool:
        """Say, once, whether the client waits for ``100 Continue`` before it sends the body."""
        if self._request is None or not self._request._expected_100_continue:  # noqa: SLF001 - it has no other name
            return False
        self._request._expected_100_continue = False  # noqa: SLF001
        return True

    def _read_head(self) -> None:
        end = self._received.find(b"\r\n\r\n", max(0, self._searched_bytes - 3))
        if end < 0 and not self._has_hopeless_head():
            self._searched_bytes = len(self._received)
            return
        unreader = _BufferedUnreader(bytes(self._received))
        self._received.clear()
        self._searched_bytes = 0
        try:
            self._request = Request(self._cfg, unreader, self._client)
        except NoMoreData:
            raise LimitRequestHeaders("the head does not end") from None
        self._received += unreader.take_buffered()
        if isinstance(self._request.body.reader, ChunkedReader):
            self._probe = PythonProtocol(on_body=self._count_decoded)
            self._feed_probe(_CHUNKED_HEAD + self._received)

    def _has_hopeless_head(self) -> bool:
        """Say whether the strict parser would refuse this beginning, however it goes on."""
        if len(self._received) > MAX_HEAD_BYTES:
            return True
        line_feed = self._received.find(b"\n", self._searched_bytes)
        while line_feed >= 0:
            if line_feed == 0 or self._received[line_feed - 1] != ord("\r"):
                return True
            line_feed = self._received.find(b"\n", line_feed + 1)
        return False

    def _count_decoded(self, data: bytes) -> None:
        self._decoded_bytes += len(data)

    def _feed_probe(self, data: bytes) -> None:
        assert self._probe is not None  # noqa: S101 - narrows the type
        try:
            self._probe.feed(data)
        except ParseError:
            # The strict parser will say what is wrong.
            self._decoded_bytes = self._max_body_bytes + 1

    def _take_body(self, reader: ChunkedReader | LengthReader) -> bytes | None:
        if self._probe is None:
            wanted = min(reader.length, self._max_body_bytes + 1)
            if len(self._received) < wanted:
                return None
            body = bytes(self._received[:wanted])
            del self._received[:wanted]
            return body
        is_too_long = self._decoded_bytes > self._max_body_bytes
        if not is_too_long and not self._probe.is_complete:
            if len(self._received) > 2 * self._max_body_bytes + _MAX_CHUNK_OVERHEAD_BYTES:
                raise InvalidHeader("TRANSFER-ENCODING")
            return None
        return self._decode_chunks(reader)

    def _decode_chunks(self, reader: ChunkedReader) -> bytes:
        """Have the strict parser read chunks that the probe found to be complete, too long or malformed."""
        unreader = self._request.unreader
        unreader.unread(bytes(self._received))
        self._received.clear()
        try:
            body: bytes = reader.read(self._max_body_bytes + 1)
        except NoMoreData:
            # The two parsers disagree about where the body ends.
            raise ChunkMissingTerminator(b"") from None
        self._received += unreader.take_buffered()
        return body
