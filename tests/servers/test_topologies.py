"""Every way to a Redis that the settings know, on real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.ratelimit import Charge, Engine, compile_plan, parse_storage_uri
from gatehouse.testing.servers.redis import RedisServer, running, wait_until
from tests.servers.harness.tls import Authority
from tests.servers.redis_clusters import running_cluster, running_sentinels

if TYPE_CHECKING:
    from pathlib import Path

PLAN = compile_plan("3/minute;1000/hour;5000/day", scope="transport")
ODD_PASSWORD = "p@ss:w/ord %}"
RIGHTS = "~rl1:* resetchannels -@all +@connection +@sortedset +@scripting +pexpire +unlink +time +select +scan"
ODD_PASSWORD_ENCODED = "p%40ss%3Aw%2Ford%20%25%7D"


def assert_decides_in_store(uri: str) -> None:
    # Generous, because connecting by TLS on a busy machine takes longer than a decision may.
    engine = Engine(parse_storage_uri(uri), budget_ms=1000)
    try:
        wait_until(lambda: not engine.decide(Charge(PLAN, "warm", 0)).is_local, what="the first decision by the store")
        charges = Charge(PLAN, "address:1"), Charge(compile_plan("9/minute", scope="other"), "account:2")
        decisions = [engine.decide(*charges) for _ in range(4)]
        assert [decision.is_admitted for decision in decisions] == [True, True, True, False]
        assert not any(decision.is_local for decision in decisions)
        assert [outcome.remaining for outcome in decisions[2].outcomes] == [0, 997, 4997, 6]
        # Asked the other way round the second limit refuses, and the first has to give back what it gave.
        engine._refusals.clear()
        assert not engine.decide(*reversed(charges)).is_admitted
        # What the refusal took from the other subject, it gave back.
        assert engine.decide(charges[1]._replace(cost=0)).outcomes[0].remaining == 6
        assert engine.inspector.clear("address:1")
        assert engine.decide(*charges).is_admitted
    finally:
        engine.close()


def assert_stays_away(uri: str) -> None:
    engine = Engine(parse_storage_uri(uri))
    try:
        wait_until(lambda: engine.decide(Charge(PLAN, "warm", 0)).is_local and engine.is_degraded)
    finally:
        engine.close()


def test_a_single_server_in_any_database() -> None:
    with running() as server:
        assert_decides_in_store(f"redis://127.0.0.1:{server.port}")
        assert_decides_in_store(f"redis://127.0.0.1:{server.port}/5")
        with server.client(db=5) as client:
            assert client.dbsize() > 0


def test_a_unix_socket() -> None:
    with running() as server:
        assert_decides_in_store(f"unix://{server.socket_path}")
        assert_decides_in_store(f"redis+unix://{server.socket_path}?db=3")


def test_a_password() -> None:
    with running("--requirepass", ODD_PASSWORD, password=ODD_PASSWORD) as server:
        assert_decides_in_store(f"redis://:{ODD_PASSWORD_ENCODED}@127.0.0.1:{server.port}/0")
        assert_stays_away(f"redis://:wrong@127.0.0.1:{server.port}/0")
        assert_stays_away(f"redis://127.0.0.1:{server.port}/0")


def make_limiter_user(server: RedisServer, rights: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "limiter", "on", f">{ODD_PASSWORD}", *rights.split())


def test_an_acl_user_with_no_more_rights_than_the_limiter_needs() -> None:
    with running() as server:
        make_limiter_user(server, RIGHTS)
        assert_decides_in_store(f"redis://limiter:{ODD_PASSWORD_ENCODED}@127.0.0.1:{server.port}")
        assert_stays_away(f"redis://nobody:{ODD_PASSWORD_ENCODED}@127.0.0.1:{server.port}")


@pytest.mark.parametrize(("rights", "told"), [(RIGHTS, []), (f"{RIGHTS} +info", ["allkeys-lru"])])
def test_a_user_with_the_right_to_info_lets_the_doctor_read_the_memory_policy(rights: str, told: list[str]) -> None:
    with running("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        make_limiter_user(server, rights)
        engine = Engine(parse_storage_uri(f"redis://limiter:{ODD_PASSWORD_ENCODED}@127.0.0.1:{server.port}"))
        assert engine.inspector.find_evicting_policies() == told
        engine.close()


def make_tls(
    folder: Path, *, hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a server's options for TLS, and the files that its clients need."""
    authority = Authority(folder)
    server, client = authority.issue("server", hosts=hosts), authority.issue("client", is_client=True)
    options = {
        "cert": server.certificate,
        "key": server.key,
        # What the nodes of a cluster show each other.
        "client-cert": client.certificate,
        "client-key": client.key,
        "ca-cert": authority.path,
    }
    files = {"ca": str(authority.path), "client_cert": str(client.certificate), "client_key": str(client.key)}
    return tuple(word for name, path in options.items() for word in (f"--tls-{name}-file", str(path))), files


def make_tls_server(folder: Path, *, hosts: tuple[str, ...] = ("localhost", "127.0.0.1")) -> RedisServer:
    options, files = make_tls(folder, hosts=hosts)
    return RedisServer(options, tls=files)


def test_tls_with_a_ca_a_client_certificate_and_a_verified_name(tmp_path: Path) -> None:
    server = make_tls_server(tmp_path)
    try:
        server.start()
        ca, cert, key = server.tls["ca"], server.tls["client_cert"], server.tls["client_key"]
        files = f"ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}"
        assert_decides_in_store(f"rediss://localhost:{server.port}/0?{files}")
        assert_stays_away(f"rediss://localhost:{server.port}/0?ssl_ca_certs={ca}")
        assert_stays_away(f"rediss://localhost:{server.port}/0?ssl_certfile={cert}&ssl_keyfile={key}")
        assert_stays_away(f"redis://localhost:{server.port}/0")
    finally:
        server.stop()


def test_tls_refuses_a_server_with_another_name(tmp_path: Path) -> None:
    server = make_tls_server(tmp_path, hosts=("elsewhere.example",))
    try:
        server.launch()
        ca, cert, key = server.tls["ca"], server.tls["client_cert"], server.tls["client_key"]
        files = f"ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}"
        assert_stays_away(f"rediss://localhost:{server.port}/0?{files}")
    finally:
        server.stop()


def test_sentinels_are_asked_for_the_master_and_a_failover_is_followed() -> None:
    with running_sentinels() as group:
        assert_decides_in_store(group.uri)
        engine = Engine(parse_storage_uri(group.uri))
        plan = compile_plan("100000/hour", scope="failover")
        wait_until(lambda: not engine.decide(Charge(plan, "x")).is_local)
        old_port = group.find_master_port()
        next(server for server in group.servers if server.port == old_port).kill()
        wait_until(lambda: group.find_master_port() != old_port, what="the failover")
        wait_until(lambda: not engine.decide(Charge(plan, "x")).is_local, what="a decision by the new master")
        assert not engine.is_degraded
        engine.close()


def test_sentinels_that_are_all_away_take_no_working_master_with_them() -> None:
    with running_sentinels() as group:
        engine = Engine(parse_storage_uri(group.uri))
        wait_until(lambda: not engine.decide(Charge(PLAN, "x", 0)).is_local)
        for sentinel in group.sentinels:
            sentinel.kill()
        with group.servers[0].client() as client:
            client.client_kill_filter(_type="normal")
        wait_until(lambda: not engine.is_degraded and not engine.decide(Charge(PLAN, "x", 0)).is_local)
        engine.close()


def test_a_cluster_of_three_and_three() -> None:
    with running_cluster() as cluster:
        assert_decides_in_store(cluster.uri)


def test_a_cluster_with_tls_a_password_and_a_user_of_few_rights(tmp_path: Path) -> None:
    options, files = make_tls(tmp_path)
    tls = (*options, "--tls-cluster", "yes", "--tls-replication", "yes")
    password = ("--requirepass", ODD_PASSWORD, "--masterauth", ODD_PASSWORD)
    with running_cluster(tls=files, password=ODD_PASSWORD, options=(*tls, *password)) as cluster:
        for server in cluster.servers:
            make_limiter_user(server, f"{RIGHTS} +cluster|slots +asking")
        hosts = ",".join(f"localhost:{server.port}" for server in cluster.servers[:3])
        query = f"?ssl_ca_certs={files['ca']}&ssl_certfile={files['client_cert']}&ssl_keyfile={files['client_key']}"
        assert_decides_in_store(f"rediss+cluster://limiter:{ODD_PASSWORD_ENCODED}@{hosts}{query}")
        assert_stays_away(f"rediss+cluster://:wrong@{hosts}{query}")
        assert_stays_away(f"redis+cluster://:{ODD_PASSWORD_ENCODED}@{hosts}")


def test_a_server_that_is_loading_is_away_until_it_has_loaded() -> None:
    with running() as server:
        with server.client() as client:
            client.mset({f"filler:{number}": "x" * 200 for number in range(1000)})
            client.save()
        server.kill()
        # Each key takes 3 ms, and the server looks up from its work after every kilobyte.
        server.options = ("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
        server.launch()
        wait_until(lambda: is_loading(server), what="the server to load")
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}/0"))
        try:
            wait_until(lambda: engine.decide(Charge(PLAN, "a", 0)).is_local and engine.is_degraded, what="the outage")
            assert is_loading(server)
            wait_until(lambda: not engine.decide(Charge(PLAN, "a", 0)).is_local, what="the store")
            assert not is_loading(server)
        finally:
            engine.close()


def is_loading(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.info("persistence")["loading"])
