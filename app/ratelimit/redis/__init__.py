"""How Redis is reached: servers, their connections, and the topology that says which of them is asked."""

from collections.abc import Callable

from .cluster import ClusterTopology
from .server import RedisServer
from .storage_uri import MEMORY, StorageUri, StorageUriError, parse_storage_uri
from .topology import SentinelTopology, SingleTopology

# Which of the servers is asked about which subject, and by which clients of redis-py an operator asks them.
Topology = SingleTopology | SentinelTopology | ClusterTopology


def make_topology(uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[RedisServer], None]) -> Topology:
    """Return the way to the servers at ``uri``, which is not ``memory://``; it connects when it is first used."""
    kinds: dict[str, type[Topology]] = {"cluster": ClusterTopology, "sentinel": SentinelTopology}
    return kinds.get(uri.kind, SingleTopology)(uri, timeout_seconds=timeout_seconds, on_change=on_change)
