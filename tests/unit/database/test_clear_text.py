"""A server that is not verified does not get the password by asking for it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from app.database import DatabaseUnavailable, make_engine, parse_database_url

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct horse"
NATIVE = b"mysql_native_password\0"


class Impostor:
    """Speaks just enough of MySQL's protocol to ask whoever connects for the password in clear."""

    def __init__(self, plugin: bytes) -> None:
        self._plugin = plugin
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client:
                client.settimeout(5)
                # Protocol 10, a version, a thread, a salt; capabilities 4.1, secure connection, plugins.
                salt = struct.pack("<I8sx", 1, b"saltsalt")
                flags = struct.pack("<HBHHB10x", 0x8200, 45, 2, 0x0008, 21)
                client.sendall(_pack(0, b"\x0a5.7.0\0" + salt + flags + b"saltsaltsalt\0" + NATIVE))
                self.heard += client.recv(4096)
                client.sendall(_pack(2, b"\xfe" + self._plugin + b"\0Password: "))
                while data := client.recv(4096):
                    self.heard += data


def _pack(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


@pytest.fixture(params=[b"mysql_clear_password", b"dialog"])
def impostor(request: pytest.FixtureRequest) -> Iterator[Impostor]:
    impostor = Impostor(request.param)
    yield impostor
    impostor.close()


def test_a_server_that_asks_for_the_password_in_clear_is_refused(impostor: Impostor) -> None:
    engine = make_engine(
        parse_database_url(f"mysql://u:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{impostor.port}/d?ssl=off")
    )
    with pytest.raises(DatabaseUnavailable):
        engine.connect()
    impostor.close()
    assert impostor.heard
    assert PASSWORD.encode() not in impostor.heard
