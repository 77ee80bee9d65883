from __future__ import annotations

import gc
import socket
import sys
from unittest.mock import Mock

import pytest

from app.server import is_draining
from app.server.connection import SEND_BYTES, Connection, State
from app.server.draining import set_draining
from app.server.listener import CannotListen, check_can_listen, stop_handshakes
from app.server.master import _Application


def test_nothing_drains_until_told() -> None:
    assert not is_draining()
    set_draining(is_draining=True)
    try:
        assert is_draining()
    finally:
        set_draining(is_draining=False)


def test_the_garbage_collector_leaves_the_application_alone() -> None:
    parts = [{"route": number} for number in range(1000)]

    def application(_environ: object, _start_response: object) -> list[bytes]:
        return [str(parts).encode()]

    server = _Application(lambda: application, {}, max_body_bytes=1, shutdown_delay=0)
    gc.unfreeze()
    try:
        assert server.load() is application
        assert gc.get_freeze_count() > len(parts)
        assert parts[0] not in gc.get_objects()
    finally:
        gc.unfreeze()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.enable_socket
def test_without_handshakes_open_connections_go_on_and_new_ones_wait() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as waiting,
    ):
        assert stop_handshakes([listener])
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.2)
        accepted, _ = listener.accept()
        with accepted:
            waiting.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_a_socket_that_takes_no_filter_is_left_alone() -> None:
    class Refusing:
        def setsockopt(self, *_: object) -> None:
            raise OSError

    assert not stop_handshakes([Refusing()])


def test_a_reader_earns_more_time_by_reading_enough_and_not_by_a_byte() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours, "", "", Mock())
        connection.wait_for(State.SENDING, 1)
        deadline = connection.deadline
        for size, is_enough in ((SEND_BYTES - 1, False), (1, True), (1, False)):
            connection.outgoing.sendall(b"a" * size)
            while connection.outgoing.size:
                connection.outgoing.flush()
                theirs.recv(65536)
            connection.note_progress()
            assert (connection.deadline > deadline) is is_enough
            deadline = connection.deadline


def test_an_address_that_nobody_can_listen_on_is_named_with_its_setting() -> None:
    with pytest.raises(CannotListen, match=r"^192\.0\.2\.1 is not an address of this machine\. Set HOST"):
        check_can_listen("192.0.2.1", 8000)
    with pytest.raises(CannotListen, match=r"Set HOST"):
        check_can_listen("no such host", 8000)


def test_what_lingers_of_a_server_that_ended_does_not_keep_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
    # Whoever closes first leaves the port in TIME_WAIT.
    accepted.close()
    client.close()
    check_can_listen("127.0.0.1", port)
