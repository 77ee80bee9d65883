"""Whom a limit counts: any text, made into a name that is safe inside a Redis key."""

import ipaddress
import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote

SUBJECT_MAX_LENGTH: Final = 96

_SAFE: Final = re.compile(rf"[A-Za-z0-9._:@/+=~-]{{1,{SUBJECT_MAX_LENGTH}}}").fullmatch
_UNSAFE_BYTE: Final = re.compile(rb"[^A-Za-z0-9._:@/+=~-]")
_DIGEST_BYTES: Final = 16
IPV6_PREFIX_BITS: Final = 64
# Some proxies tell the port too, as in 192.0.2.1:4711 or [2001:db8::1]:4711: a new one with each connection.
_match_with_port: Final = re.compile(r"(?:([0-9.]+)|\[([^\]]+)\])(?::[0-9]+)?").fullmatch


def encode_subject(subject: str) -> str:
    """Return the one name of ``subject`` inside keys: different subjects never share one.

    The name stands between the braces of a Redis hash tag, so a subject that could close them would choose its own
    slot. What is not plainly safe is percent-encoded; what is longer than ``SUBJECT_MAX_LENGTH`` is hashed, marked by
    a ``#``, which encoding never leaves in a name.
    """
    if _SAFE(subject):
        return subject
    return _encode_unsafe(subject)


def decode_subject(name: str) -> str:
    """Return the subject of a name; one that was hashed is known by its hash only, with its ``#``."""
    return name if name.startswith("#") else unquote(name)


@lru_cache(maxsize=4096)
def _encode_unsafe(subject: str) -> str:
    octets = subject.encode("utf-8", "surrogatepass")
    encoded = _UNSAFE_BYTE.sub(lambda match: b"%%%02X" % match[0][0], octets).decode("ascii")
    if 0 < len(encoded) <= SUBJECT_MAX_LENGTH:
        return encoded
    return f"#{blake2b(octets, digest_size=_DIGEST_BYTES).hexdigest()}"


@lru_cache(maxsize=4096)
def normalize_ip(text: str) -> str:
    """Return whom the IP address in ``text`` stands for: an IPv4 address, or the /64 that one IPv6 customer has.

    What is no IP address (a unix socket's peer) stands for itself.
    """
    parsed = find_ip(text)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((parsed, IPV6_PREFIX_BITS), strict=False))
    return text if parsed is None else str(parsed)


def find_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address in ``text``, its port and zone left out, or None; one that maps IPv4 is an IPv4 address."""
    match = _match_with_port(text)
    host = text if match is None else match[1] or match[2]
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
