"""Which proxies are trusted to say where a request came from."""

import itertools
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import IpNetwork
from app.ratelimit.subject import find_ip


def trust_proxies(application: WSGIApplication, proxies: int | tuple[IpNetwork, ...]) -> WSGIApplication:
    """Return ``application`` behind ``proxies``, trusting their ``X-Forwarded-For``, ``-Proto`` and ``-Host``.

    A number trusts every peer, so it is for a server that can only be reached through that many proxies. With networks
    only proxies in these are trusted, and the client is the last IP outside them.
    """
    if isinstance(proxies, int):
        return ProxyFix(application, x_for=proxies, x_proto=proxies, x_host=proxies)

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        hops = _count_trusted(environ, proxies)
        if not hops:
            return application(environ, start_response)
        # A header that only the first proxy sets is passed on unchanged by the others.
        counts = {
            name: min(hops, len(environ.get(header, "").split(",")))
            for name, header in (("x_proto", "HTTP_X_FORWARDED_PROTO"), ("x_host", "HTTP_X_FORWARDED_HOST"))
        }
        return ProxyFix(application, x_for=hops, **counts)(environ, start_response)

    return call


def _count_trusted(environ: WSGIEnvironment, proxies: tuple[IpNetwork, ...]) -> int:
    """Return how many trusted proxies a request came through: the peer, then those named before it."""
    named = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
    hops = [environ.get("REMOTE_ADDR", ""), *reversed(named)]
    count = sum(1 for _ in itertools.takewhile(lambda hop: _is_one_of(hop, proxies), hops))
    # If all are trusted, the first one named is itself the client.
    return min(count, len(named))


def _is_one_of(hop: str, proxies: tuple[IpNetwork, ...]) -> bool:
    ip = find_ip(hop.strip())
    return ip is not None and any(ip in network for network in proxies)
