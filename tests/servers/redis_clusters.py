"""Real Redis groups for tests and benchmarks: a replicated pair under sentinels, and a cluster of three and three."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from gatehouse.testing.servers.redis import RedisServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 16384
NODE_TIMEOUT_MS = 1000


class SentinelGroup:
    """A master, its replica, and three sentinels that agree by two."""

    service = "limits"

    def __init__(self, *, down_after_ms: int = 500) -> None:
        self.servers = [RedisServer(("--repl-diskless-sync", "yes")) for _ in range(2)]
        self.sentinels: list[RedisServer] = []
        self._down_after_ms = down_after_ms

    def start(self) -> SentinelGroup:
        """Start everything and return when the sentinels know the replica."""
        master, replica = self.servers
        master.start()
        replica.start()
        with replica.client() as client:
            client.replicaof("127.0.0.1", master.port)
        options = (
            f"sentinel monitor {self.service} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {self.service} {self._down_after_ms}",
            f"sentinel failover-timeout {self.service} 3000",
        )
        self.sentinels = [RedisServer(options, is_sentinel=True).start() for _ in range(3)]
        wait_until(self._is_ready, what="the sentinels' agreement")
        return self

    def _is_ready(self) -> bool:
        with self.servers[1].client() as client:
            if client.info("replication")["master_link_status"] != "up":
                return False
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                state = client.sentinel_master(self.service)
                if state["num-other-sentinels"] != 2 or state["num-slaves"] != 1:
                    return False
        return True

    @property
    def uri(self) -> str:
        """The group's address for the limiter."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.service}"

    def find_master_port(self) -> int:
        """Return the port of the server that the sentinels call master."""
        with self.sentinels[0].client() as client:
            return int(client.sentinel_get_master_addr_by_name(self.service)[1])

    def stop(self) -> None:
        """Stop everything."""
        for server in [*self.sentinels, *self.servers]:
            server.stop()


class Cluster:
    """Three masters with a replica each."""

    def __init__(
        self,
        *,
        masters: int = 3,
        replicas: int = 1,
        options: tuple[str, ...] = (),
        tls: dict[str, str] | None = None,
        password: str | None = None,
    ) -> None:
        """Prepare the nodes; with ``tls``, the files of certificates, they talk to each other by TLS too."""
        base = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *options)
        count = masters * (1 + replicas)
        self.masters_count = masters
        self.servers = [
            RedisServer((*base, "--cluster-config-file", "nodes.conf"), tls=tls or {}, password=password)
            for _ in range(count)
        ]

    def start(self) -> Cluster:
        """Start every server, join them, and return when each knows all slots."""
        for server in self.servers:
            server.launch()
        for server in self.servers:
            wait_until(server.is_answering, what="the start of a cluster's node")
        first = self.servers[0]
        bounds = [SLOTS * place // self.masters_count for place in range(self.masters_count + 1)]
        for place in range(self.masters_count):
            with self.servers[place].client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[place], bounds[place + 1] - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
        for server in self.servers[1:]:
            with server.client() as client:
                client.execute_command("CLUSTER MEET", "127.0.0.1", first.port)
        wait_until(lambda: all(self._known_nodes(server) == len(self.servers) for server in self.servers))
        for place, server in enumerate(self.servers[self.masters_count :]):
            master_id = self.node_id(self.servers[place % self.masters_count])
            with server.client() as client:
                wait_until(lambda client=client: client.execute_command("CLUSTER REPLICATE", master_id))  # type: ignore[misc] # noqa: B023
        wait_until(lambda: all(self.is_ok(server) for server in self.servers), what="the cluster's agreement")
        wait_until(self._has_all_replicas, what="the replicas' synchronization")
        return self

    def _known_nodes(self, server: RedisServer) -> int:
        with server.client() as client:
            return len(client.execute_command("CLUSTER NODES"))

    def _has_all_replicas(self) -> bool:
        for server in self.servers[self.masters_count :]:
            with server.client() as client:
                if client.info("replication")["master_link_status"] != "up":
                    return False
        return True

    def node_id(self, server: RedisServer) -> str:
        """Return the name that ``server`` has in the cluster."""
        with server.client() as client:
            return str(client.execute_command("CLUSTER MYID").decode())

    @staticmethod
    def is_ok(server: RedisServer) -> bool:
        """Say whether ``server`` thinks that the whole cluster works."""
        with server.client() as client:
            return bool(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")

    @property
    def uri(self) -> str:
        """The cluster's address for the limiter."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[: self.masters_count])
        return f"redis+cluster://{hosts}"

    def masters(self) -> list[RedisServer]:
        """Return the servers that are masters now."""
        found = []
        for server in self.servers:
            if server.process is None:
                continue
            with server.client(socket_timeout=0.3) as client, contextlib.suppress(Exception):
                if client.info("replication")["role"] == "master":
                    found.append(server)
        return found

    def find_owner(self, slot: int) -> RedisServer:
        """Return the server that owns ``slot``, as the first that answers sees it."""
        for server in self.servers:
            with contextlib.suppress(Exception), server.client(socket_timeout=0.3) as client:
                for first, last, primary, *_replicas in client.execute_command("CLUSTER SLOTS"):
                    if first <= slot <= last:
                        return next(one for one in self.servers if one.port == primary[1])
        raise LookupError(slot)

    def move_slot(self, slot: int, *, pause_seconds: float = 0.0) -> None:
        """Move ``slot`` and its keys to another master, one key after the other, as redis-cli does."""
        source = self.find_owner(slot)
        target = next(one for one in self.masters() if one is not source)
        source_id, target_id = self.node_id(source), self.node_id(target)
        with source.client() as out, target.client() as into:
            into.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
            out.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
            while keys := out.execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
                time.sleep(pause_seconds)
                out.execute_command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000)
            time.sleep(pause_seconds)
        for server in [target, source, *(one for one in self.masters() if one not in {target, source})]:
            with server.client() as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)

    def stop(self) -> None:
        """Stop everything."""
        for server in self.servers:
            server.stop()


@contextlib.contextmanager
def running_cluster(**options: Any) -> Iterator[Cluster]:
    """Yield a cluster that runs inside the block."""
    cluster = Cluster(**options)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@contextlib.contextmanager
def running_sentinels() -> Iterator[SentinelGroup]:
    """Yield a replicated pair under sentinels that runs inside the block."""
    group = SentinelGroup()
    try:
        yield group.start()
    finally:
        group.stop()
