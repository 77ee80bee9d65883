"""Redis' protocol, version 2, as far as the limiter speaks it: bytes in, bytes out, no socket."""

from typing import Final

Reply = bytes | int | None | Exception

_CRLF: Final = b"\r\n"


class ReplyError(Exception):
    """The server answered, and the answer is an error; ``code`` is its first word."""

    def __init__(self, text: str) -> None:
        self.code, _, self.detail = text.partition(" ")
        super().__init__(text)


class ConnectionFailed(Exception):
    """A connection is of no further use: it broke, or the answer did not come in time, which is a silence."""

    def __init__(self, text: str, *, is_silence: bool = False) -> None:
        self.is_silence = is_silence
        super().__init__(text)


def pack_command(*arguments: bytes) -> bytes:
    """Return a command as the wire takes it."""
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def parse_replies(data: bytes, count: int) -> list[Reply] | None:
    """Return the ``count`` replies in ``data``, or None while they are not all there.

    Raises:
        ConnectionFailed: this is no Redis server.
    """
    replies: list[Reply] = []
    place = 0
    for _ in range(count):
        end = data.find(_CRLF, place)
        if end < 0:
            return None
        kind, head = data[place], data[place + 1 : end]
        place = end + 2
        if kind == 36:  # $
            length = int(head)
            if length < 0:
                replies.append(None)
                continue
            if len(data) < place + length + 2:
                return None
            replies.append(data[place : place + length])
            place += length + 2
        elif kind == 58:  # :
            replies.append(int(head))
        elif kind == 43:  # +
            replies.append(head)
        elif kind == 45:  # -
            replies.append(ReplyError(head.decode("utf-8", "replace")))
        else:
            raise ConnectionFailed("the answer is not in Redis' protocol")
    return replies


def check_replies(replies: list[Reply]) -> None:
    """Let no error among ``replies`` pass.

    Raises:
        ConnectionFailed: there is one.
    """
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise ConnectionFailed(reply.code)
