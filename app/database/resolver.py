"""From a host's name to its IPs, before a deadline."""

import ipaddress
import socket
import threading


def resolve(name: str, port: int, *, within_seconds: float | None) -> tuple[str, ...]:
    """Return the IPs of ``name``, best first.

    The system's resolver takes no deadline and may wait for half a minute: it is left behind in a thread of its own.

    Raises:
        OSError: there is no such name, or no answer in time.
    """
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        lookup = _Lookup(name, port)
    lookup.start()
    lookup.join(within_seconds)
    if lookup.fault is not None:
        raise lookup.fault
    if not lookup.ips:
        raise TimeoutError("the host's name was not resolved in time")
    return lookup.ips


class _Lookup(threading.Thread):
    """One question to the system's resolver."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(name="name lookup", daemon=True)
        self._question = (name, port)
        self.ips: tuple[str, ...] = ()
        self.fault: OSError | None = None

    def run(self) -> None:
        """Ask; whoever asked may have gone."""
        try:
            answers = socket.getaddrinfo(*self._question, type=socket.SOCK_STREAM)
            self.ips = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except (OSError, UnicodeError) as error:
            self.fault = error if isinstance(error, OSError) else OSError("no host can have this name")
