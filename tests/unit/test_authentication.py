"""What a NameNode answers to the handshake, byte for byte, and what is no such answer."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.authentication import check_authentication
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.rpc import MalformedResponse, _methods_in, authentication_methods
from backhaul.core.errors import OutageError

# As Hadoop 3.4.2 sent it with Kerberos: TOKEN with its challenge, then KERBEROS.
HEADER = b"\x0e\x08\xdf\xff\xff\xff\x0f\x10\x00\x18\t:\x00@\x01"
TOKEN = b'\n\x05TOKEN\x12\nDIGEST-MD5\x1a\x00"\x07default*\x08realm="d'
KERBEROS = b'\n\x08KERBEROS\x12\x06GSSAPI\x1a\x02nn"\tlocalhost'
ANSWER = (
    HEADER
    + bytes([2 + 2 + len(TOKEN) + 2 + len(KERBEROS)])
    + b"\x10\x01"
    + b'"'
    + bytes([len(TOKEN)])
    + TOKEN
    + b'"'
    + bytes([len(KERBEROS)])
    + KERBEROS
)


def test_the_methods_are_read() -> None:
    assert _methods_in(BytesIO(ANSWER)) == {"TOKEN", "KERBEROS"}


def test_success_before_any_exchange_is_no_authentication() -> None:
    assert _methods_in(BytesIO(HEADER + b"\x02\x10\x00")) == {"SIMPLE"}


@given(st.binary(max_size=300))
def test_any_other_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    with suppress(MalformedResponse):
        assert isinstance(_methods_in(BytesIO(data)), frozenset)


@given(st.integers(0, len(ANSWER) - 1))
def test_a_part_of_an_answer_gives_no_method_too_many(end: int) -> None:
    with suppress(MalformedResponse):
        assert _methods_in(BytesIO(ANSWER[:end])) <= {"TOKEN", "KERBEROS"}


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """One connection, answered by `behave`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    "words",
    [b"", b"\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n", struct.pack(">I", 9) + b"short"],
)
def test_what_is_no_namenode_is_reported_as_that(words: bytes) -> None:
    with server(lambda connection: connection.sendall(words)) as port:
        cluster = HdfsCluster(f"hdfs://127.0.0.1:{port}", HadoopConfiguration())
        with pytest.raises(OutageError) as caught:
            check_authentication(cluster)
    assert caught.value.code == "E_HDFS_UNREACHABLE"
    assert "no NameNode" in caught.value.message


def hang(release: threading.Event) -> None:
    release.wait(60)


def test_a_namenode_that_hangs_is_known_within_the_time_limit() -> None:
    release = threading.Event()
    with server(lambda _connection: hang(release)) as port:
        with pytest.raises(TimeoutError):
            authentication_methods("127.0.0.1", port, timeout_s=0.2)
        release.set()


def test_a_name_that_is_no_nameservice_is_a_host_with_the_port_of_hdfs() -> None:
    assert HdfsCluster("hdfs://host", HadoopConfiguration()).namenodes == [("host", 8020)]
