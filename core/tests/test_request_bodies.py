"""Bodies arrive over real sockets, whose `read(n)` waits for n bytes or the end, like the server's."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from core.admission import request_bodies
from core.admission.request_bodies import BodyReader
from core.errors import BodyIncomplete, BodyTooSlow, Unavailable

MAX_BYTES = 10 * 1024 * 1024


@dataclass
class Connection:
    """The two ends of one connection: the client's socket, and the environ of its request."""

    client: socket.socket
    environ: dict[str, Any]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that read bodies. They end after the connections of `connect` are closed."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def connect(pool: ThreadPoolExecutor) -> Iterator[Callable[..., Connection]]:
    """A function that opens a connection from an address, with a Content-Length unless it is None."""
    with ExitStack() as resources:
        # Closed last to first: the clients' ends, which ends the readings, before the files that they read.
        files = resources.enter_context(ExitStack())
        resources.callback(join_reading_threads)
        resources.callback(pool.shutdown)
        clients = resources.enter_context(ExitStack())

        def connect(address: str = "203.0.113.1", length: int | None = 10) -> Connection:
            server, client = socket.socketpair()
            clients.enter_context(client)
            with server:
                body_input = files.enter_context(server.makefile("rb"))
            environ: dict[str, Any] = {"REMOTE_ADDR": address, "wsgi.input": body_input}
            if length is not None:
                environ["CONTENT_LENGTH"] = str(length)
            return Connection(client, environ)

        yield connect


def join_reading_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "request-body":
            thread.join(5)


def read(reader: BodyReader, connection: Connection) -> bytes:
    return reader.read_body(connection.environ, MAX_BYTES)


def start_silent_bodies(reader, connect, pool, addresses):
    """Start one body that never arrives for each address, and wait until all are being read."""
    connections = [connect(address) for address in addresses]
    futures = [pool.submit(read, reader, connection) for connection in connections]
    wait_for_readings(reader, len(addresses))
    return connections, futures


def wait_for_readings(reader, number):
    """Wait until `reader` reads exactly `number` bodies."""
    deadline = time.monotonic() + 5
    while len(reader._readings) != number and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(reader._readings) == number


@pytest.mark.parametrize("web_threads", [1, 4], ids=["in a thread", "directly"])
@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 300_000])
def test_read_body_returns_the_whole_body(connect, web_threads, length):
    connection = connect(length=length)
    body = bytes(index % 251 for index in range(length))
    sender = threading.Thread(target=connection.client.sendall, args=[body + b"the next request"])
    sender.start()

    assert read(BodyReader(web_threads), connection) == body
    sender.join()


@pytest.mark.parametrize("web_threads", [1, 4], ids=["in a thread", "directly"])
def test_read_body_without_a_length_ends_with_the_body_or_at_the_limit(connect, web_threads):
    reader = BodyReader(web_threads)
    ended = connect(length=None)
    ended.client.sendall(b"chunked")
    ended.client.shutdown(socket.SHUT_WR)
    longer = connect(length=None)
    longer.client.sendall(b"0123456789")

    assert read(reader, ended) == b"chunked"
    assert reader.read_body(longer.environ, 4) == b"0123"


@pytest.mark.parametrize("web_threads", [1, 4], ids=["in a thread", "directly"])
def test_read_body_refuses_a_body_whose_connection_ended(connect, web_threads):
    connection = connect(length=10)
    connection.client.sendall(b"half")
    connection.client.shutdown(socket.SHUT_WR)

    with pytest.raises(BodyIncomplete):
        read(BodyReader(web_threads), connection)


def test_read_body_refuses_a_third_body_of_a_network_while_other_networks_are_served(connect, pool):
    reader = BodyReader(8)
    silent, futures = start_silent_bodies(reader, connect, pool, ["203.0.113.1"] * 2)
    other = connect("203.0.113.2")
    other.client.sendall(b"0123456789")
    third = connect("203.0.113.1")
    third.client.sendall(b"0123456789")

    assert read(reader, other) == b"0123456789"
    with pytest.raises(Unavailable):
        read(reader, third)
    for connection in silent:
        connection.client.sendall(b"0123456789")
    assert [future.result(5) for future in futures] == [b"0123456789"] * 2
    assert read(reader, third) == b"0123456789"


def test_read_body_counts_the_network_behind_a_trusted_proxy(connect, pool, settings):
    settings.TRUSTED_PROXY_COUNT = 1
    reader = BodyReader(8)
    silent = [connect("10.0.0.1"), connect("10.0.0.1")]
    for connection in silent:
        connection.environ["HTTP_X_FORWARDED_FOR"] = "198.51.100.9, 2001:db8:1:2::1"
    futures = [pool.submit(read, reader, connection) for connection in silent]
    wait_for_readings(reader, 2)
    same_network = connect("10.0.0.1")
    same_network.environ["HTTP_X_FORWARDED_FOR"] = "2001:db8:1:2::2"
    other = connect("10.0.0.1")
    other.environ["HTTP_X_FORWARDED_FOR"] = "2001:db8:1:3::1"
    for connection in (same_network, other):
        connection.client.sendall(b"0123456789")

    with pytest.raises(Unavailable):
        read(reader, same_network)
    assert read(reader, other) == b"0123456789"
    for connection, future in zip(silent, futures, strict=True):
        connection.client.close()
        with pytest.raises(BodyIncomplete):
            future.result(5)


def test_read_body_waits_for_a_place_that_becomes_free(connect, pool, monkeypatch):
    monkeypatch.setattr(request_bodies, "WAIT_SECONDS", 5)
    reader = BodyReader(8)
    (first, _), _ = start_silent_bodies(reader, connect, pool, ["203.0.113.1"] * 2)
    third = connect("203.0.113.1")
    third.client.sendall(b"0123456789")
    waiting = pool.submit(read, reader, third)
    first.client.sendall(b"0123456789")

    assert waiting.result(5) == b"0123456789"


def test_read_body_refuses_at_once_while_all_places_are_held_by_slow_bodies(connect, pool):
    reader = BodyReader(8)
    start_silent_bodies(reader, connect, pool, ["203.0.113.1"] * 2)
    time.sleep(request_bodies.WAIT_SECONDS + 0.01)
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable):
            read(reader, connect("203.0.113.1"))

    assert time.monotonic() - started < 20 * request_bodies.WAIT_SECONDS / 2


def test_read_body_keeps_one_thread_free_whatever_the_number_of_networks(connect, pool):
    reader = BodyReader(4)
    start_silent_bodies(reader, connect, pool, [f"203.0.113.{n}" for n in range(3)])
    with pytest.raises(Unavailable):
        read(reader, connect("203.0.113.9"))


def test_read_body_stops_waiting_for_silent_and_slow_clients(connect):
    reader = BodyReader(1, grace_seconds=0.05)
    silent = connect(length=100)
    slow = connect(length=100)
    stopped = threading.Event()

    def drip():
        while not stopped.wait(0.01):
            slow.client.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        for connection in (silent, slow):
            with pytest.raises(BodyTooSlow) as refusal:
                read(reader, connection)
            assert refusal.value.headers == {"Connection": "close"}
    finally:
        stopped.set()
        dripping.join()


def test_read_body_accepts_a_body_at_the_lowest_rate(connect):
    reader = BodyReader(1, grace_seconds=0.05)
    connection = connect(length=1000)  # 0.05 s and 1,000 bytes at 1,024 bytes/s: 1.03 s

    def send_slowly():
        for _ in range(4):
            time.sleep(0.05)
            connection.client.sendall(b"x" * 250)

    sender = threading.Thread(target=send_slowly)
    sender.start()

    assert read(reader, connection) == b"x" * 1000
    sender.join()


def test_an_abandoned_body_frees_its_request_but_counts_for_its_network_until_it_ends(connect):
    reader = BodyReader(1, grace_seconds=0.01)
    abandoned = [connect("203.0.113.1", length=1), connect("203.0.113.1", length=1)]
    for connection in abandoned:
        with pytest.raises(BodyTooSlow):
            read(reader, connection)
    other = connect("203.0.113.2")
    other.client.sendall(b"0123456789")
    third = connect("203.0.113.1")
    third.client.sendall(b"0123456789")

    assert read(reader, other) == b"0123456789"
    time.sleep(request_bodies.WAIT_SECONDS)
    with pytest.raises(Unavailable):
        read(reader, third)
    abandoned[0].client.close()
    wait_for_readings(reader, 1)
    assert read(reader, third) == b"0123456789"


def test_read_body_limits_the_threads_that_wait_for_abandoned_bodies(connect, monkeypatch):
    monkeypatch.setattr(request_bodies, "MAX_BODIES", 2)
    reader = BodyReader(1, grace_seconds=0.01)
    for number in range(2):
        with pytest.raises(BodyTooSlow):
            read(reader, connect(f"203.0.113.{number}", length=1))

    with pytest.raises(Unavailable):
        read(reader, connect("203.0.113.9"))


def test_read_body_reads_only_one_body_in_the_thread_of_its_request(connect, pool):
    reader = BodyReader(4, grace_seconds=0.05)
    start_silent_bodies(reader, connect, pool, ["203.0.113.1"])

    with pytest.raises(BodyTooSlow):
        read(reader, connect("203.0.113.2"))
