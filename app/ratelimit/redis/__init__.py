"""How Redis is reached: servers, their connections, and the topology that says which of them is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .cluster import ClusterTopology
from .server import RedisServer
from .storage_uri import MEMORY, StorageUri, StorageUriError, parse_storage_uri
from .topology import SentinelTopology, SingleTopology, Topology

if TYPE_CHECKING:
    from collections.abc import Callable

_TOPOLOGIES: Final[dict[str, Callable[..., Topology]]] = {
    "single": SingleTopology,
    "unix": SingleTopology,
    "sentinel": SentinelTopology,
    "cluster": ClusterTopology,
}


def make_topology(uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[RedisServer], None]) -> Topology:
    """Return the way to the servers at ``uri``, which is not ``memory://``; it connects when it is first used."""
    return _TOPOLOGIES[uri.kind](uri, timeout_seconds=timeout_seconds, on_change=on_change)


__all__ = ["MEMORY", "RedisServer", "StorageUri", "StorageUriError", "Topology", "make_topology", "parse_storage_uri"]
