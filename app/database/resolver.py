"""From a host's name to its IPs, before a deadline."""

import ipaddress
import socket
import threading
from concurrent.futures import Future


def resolve(name: str, port: int, *, within_seconds: float | None) -> tuple[str, ...]:
    """Return the IPs of ``name``, best first.

    The system's resolver takes no deadline and may wait for half a minute: it is left behind in a thread of its own.

    Raises:
        OSError: there is no such name, or no answer in time.
    """
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        answer: Future[tuple[str, ...]] = Future()
    threading.Thread(target=_look_up, args=(name, port, answer), name="name lookup", daemon=True).start()
    return answer.result(within_seconds)


def _look_up(name: str, port: int, answer: Future[tuple[str, ...]]) -> None:
    """Ask the system's resolver; whoever waits for the answer may have gone."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        answer.set_result(tuple(dict.fromkeys(str(each[4][0]) for each in found)))
    except OSError as error:
        answer.set_exception(error)
    except UnicodeError:
        answer.set_exception(OSError("no host can have this name"))
