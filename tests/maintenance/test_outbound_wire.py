"""What servers do to a request on its way: silence, trickles, bombs, lies, and what the environment would add."""

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_django.fixtures import Settings

from maintenance import outbound
from maintenance.outbound import sending
from models_registry.fakes.http import CUT, Received, Script, Server, chunk, document, head

LOCAL = "127.0.0.1"


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    """Makes servers on 127.0.0.1 that answer everything alike."""
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(lambda received: script).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


Serve = Callable[[Script], Server]


def get(server: Server, **values: Any) -> outbound.Answer:
    allow = [server.url.removeprefix("http://")]
    return outbound.send("GET", f"{server.url}/", **{"timeout_seconds": 20, "allow": allow, **values})


def failure(server: Server, **values: Any) -> outbound.OutboundFailed:
    with pytest.raises(outbound.OutboundFailed) as failed:
        get(server, **values)
    return failed.value


# Size


def test_an_answer_is_read_as_it_is(serve: Serve) -> None:
    answer = get(serve([head(418, {"Content-Length": "5", "X-One": "1"}) + b"short"]))
    assert (answer.status, answer.body, answer.truncated, answer.headers["x-one"]) == (418, b"short", False, "1")


@pytest.mark.parametrize(("limit", "truncated"), [(4, True), (5, False), (6, False), (0, True)])
def test_what_is_too_long_is_cut_off(serve: Serve, limit: int, truncated: bool) -> None:
    answer = get(serve([head(200, {"content-length": "5"}) + b"short"]), max_bytes=limit)
    assert (answer.body, answer.truncated) == (b"short"[:limit], truncated)


def test_f46_reading_ends_at_the_cap_and_not_at_the_end(serve: Serve) -> None:
    """The server never ends its body: only a reader that stops by itself comes back at once."""
    server = serve([head(200, {"transfer-encoding": "chunked"}), *[chunk(b"x" * 1000)] * 20, 60.0])
    began = time.monotonic()
    answer = get(server, max_bytes=10_000, timeout_seconds=50)
    assert (len(answer.body), answer.truncated) == (10_000, True)
    assert time.monotonic() - began < 25


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip"])
def test_f46_a_small_answer_that_unpacks_to_a_big_one_is_cut_off(serve: Serve, coding: str) -> None:
    bomb = b"\0" * 50_000_000
    packed = gzip.compress(bomb) if "gzip" in coding else zlib.compress(bomb)
    if coding == "gzip, gzip":
        packed = gzip.compress(packed)
    answer = get(serve([head(200, {"content-encoding": coding, "content-length": str(len(packed))}) + packed]))
    assert answer.truncated
    assert len(answer.body) == 5 * 1024 * 1024


def test_a_compressed_answer_is_unpacked(serve: Serve) -> None:
    packed = gzip.compress(b"hello")
    server = serve([head(200, {"content-encoding": "gzip", "content-length": str(len(packed))}) + packed])
    assert get(server).body == b"hello"


# Time


@pytest.mark.parametrize(
    "script",
    [
        [60.0, b"HTTP/1.1 200 OK\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n", *[0.05, b"X-A: b\r\n"] * 90, 60.0],
        [b"HTTP/1.1 100 Continue\r\n\r\n", *[0.05, b"HTTP/1.1 100 Continue\r\n\r\n"] * 200, 60.0],
        [head(200, {"content-length": "1000000"}), *[0.05, b"x"] * 1000],
        [head(200, {}), *[0.05, b"x"] * 1000],
        [head(200, {"transfer-encoding": "chunked"}), *[0.05, chunk(b"x")] * 1000],
        [head(200, {"content-encoding": "gzip"}), *[0.05, gzip.compress(b"")] * 1000],
    ],
    ids=["silence", "headers", "continue", "length", "no-length", "chunks", "nothing-packed"],
)
def test_f46_a_trickle_ends_with_the_deadline(serve: Serve, script: Script) -> None:
    began = time.monotonic()
    error = failure(serve(script), timeout_seconds=0.5)
    assert error.code == "outbound_timeout"
    assert error.message == "No whole answer came within 0.5 s."
    assert time.monotonic() - began < 10


def test_the_deadline_is_for_all_redirects_together(serve: Serve) -> None:
    server = serve([0.3, head(302, {"location": "/", "content-length": "0"})])
    assert failure(server, timeout_seconds=0.8).code == "outbound_timeout"
    assert len(server.received) <= 3


def test_a_name_server_that_does_not_answer_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    with pytest.raises(outbound.OutboundFailed) as failed:
        outbound.send("GET", "http://slow.test/", timeout_seconds=0.2)
    answered.set()
    assert failed.value.code == "outbound_timeout"


@pytest.fixture
def full() -> Iterator[str]:
    """The place of a server that takes no connection and refuses none."""
    with socket.socket() as server:
        server.bind((LOCAL, 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((LOCAL, port))
        yield f"{LOCAL}:{port}"
        for one in waiting:
            one.close()


def test_a_server_that_takes_no_connection_ends_with_the_deadline(full: str) -> None:
    with pytest.raises(outbound.OutboundFailed) as failed:
        outbound.send("GET", f"http://{full}/", allow=[full], timeout_seconds=0.5)
    assert failed.value.code == "outbound_timeout"


def ended_by_another_thread(url: str, **values: Any) -> float:
    """The seconds from the moment in which somebody ends the request until it has ended."""
    ended: list[float] = []

    def end_soon(end: Callable[[], None]) -> None:
        def now() -> None:
            ended.append(time.monotonic())
            end()

        threading.Timer(0.1, now).start()

    with pytest.raises(outbound.OutboundFailed):
        outbound.send("GET", url, ending=end_soon, timeout_seconds=60, **values)
    return time.monotonic() - ended[0]


def test_a_request_is_ended_while_it_connects(full: str) -> None:
    assert ended_by_another_thread(f"http://{full}/", allow=[full]) < 1


def test_a_request_is_ended_while_its_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    assert ended_by_another_thread("http://slow.test/") < 1
    answered.set()


def test_a_request_is_ended_while_it_waits_for_another_attempt(serve: Serve) -> None:
    place = serve(document(503, {}, {"retry-after": "30"})).url.removeprefix("http://")
    assert ended_by_another_thread(f"http://{place}/", allow=[place], attempts=2) < 1


def test_a_request_is_ended_while_its_answer_is_awaited(serve: Serve) -> None:
    place = serve([60.0]).url.removeprefix("http://")
    assert ended_by_another_thread(f"http://{place}/", allow=[place]) < 1


def test_no_thread_is_left_behind(serve: Serve) -> None:
    server = serve([head(200, {"content-length": "0"})])
    before = set(threading.enumerate())
    get(server)
    assert set(threading.enumerate()) <= before


# Lies


@pytest.mark.parametrize(
    "script",
    [
        [head(200, {"content-length": "100"}) + b"half", CUT],
        [head(200, {"transfer-encoding": "chunked"}) + chunk(b"half"), CUT],
        [head(200, {"transfer-encoding": "chunked"}) + b"zz\r\nhalf\r\n"],
        [head(200, {"content-encoding": "gzip"}) + b"not packed at all"],
        [head(200, {"content-encoding": ", ".join(["gzip"] * 50)}) + gzip.compress(b"x")],
        [head(200, {"content-length": "1, 2"}) + b"x"],
        [b"220 mail.test ESMTP\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n"],
        [CUT],
    ],
    ids=["length", "chunks", "chunk-size", "not-gzip", "codings", "lengths", "mail", "long-header", "headers", "cut"],
)
def test_an_answer_that_cannot_be_is_a_failure(serve: Serve, script: Script) -> None:
    error = failure(serve([*script, 0.0] if script[-1] is not CUT else script))
    assert (error.code, error.permanent) == ("outbound_broken", False)


def test_nobody_there_is_a_failure() -> None:
    with socket.socket() as closed:
        closed.bind((LOCAL, 0))
        port = closed.getsockname()[1]
    with pytest.raises(outbound.OutboundFailed) as failed:
        outbound.send("GET", f"http://{LOCAL}:{port}/", allow=[f"{LOCAL}:{port}"])
    assert (failed.value.code, failed.value.message) == ("outbound_unreachable", "127.0.0.1 could not be reached.")


# What the environment would add


def test_proxies_netrc_and_cookies_are_not_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    (tmp_path / ".netrc").write_text(f"machine {LOCAL} login alice password wonderland\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    settings.APP_NAME = "Test Name"
    server = serve([head(200, {"set-cookie": "a=b", "content-length": "0"})])
    get(server)
    get(server)
    _, second = server.received
    assert second.path == "/"
    assert set(second.headers) == {"host", "accept-encoding", "connection", "user-agent"}
    assert second.headers["user-agent"] == "Test Name"


# Second attempts


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 0.01)


def busy_then(*scripts: Script) -> Callable[[Received], Script]:
    left = iter(scripts)
    return lambda received: next(left)


def test_f27_a_request_that_can_be_repeated_is_made_again_where_no_answer_came() -> None:
    with Server(busy_then([CUT], [CUT], document(200, {"third": True}))) as server:
        assert get(server, attempts=3).body == b'{"third": true}'


def test_f27_a_busy_server_is_asked_again_when_it_wants_to_be() -> None:
    with Server(busy_then(document(429, {}, {"retry-after": "1"}), document(200, {}))) as server:
        began = time.monotonic()
        assert get(server, attempts=2).status == 200
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize("when", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_f27_a_server_that_wants_to_be_left_alone_for_longer_is(when: str) -> None:
    with Server(busy_then(document(429, {}, {"retry-after": when}))) as server:
        assert get(server, attempts=5).status == 429
        assert len(server.received) == 1


@pytest.mark.parametrize("words", ["soon", "-1", "²", ""])
def test_a_wish_that_nobody_understands_is_none(words: str) -> None:
    with Server(busy_then(document(503, {}, {"retry-after": words}), document(200, {}))) as server:
        assert get(server, attempts=2).status == 200


def test_what_may_have_had_an_effect_is_not_sent_twice() -> None:
    with Server(busy_then([CUT])) as server, pytest.raises(outbound.OutboundFailed):
        outbound.send("POST", f"{server.url}/", body=b"{}", allow=[server.url.removeprefix("http://")], attempts=3)
    assert len(server.received) == 1


# TLS


def certificate(name: str) -> tuple[bytes, bytes]:
    """A certificate for a name, signed by itself, and its key; both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


class TLSServer(threading.Thread):
    """Answers one request over TLS, and keeps the name that it was asked for in the handshake."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(daemon=True)
        for file, content in zip(("cert.pem", "key.pem"), certificate(name), strict=True):
            (folder / file).write_bytes(content)
        self.bundle = str(folder / "cert.pem")
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self._listening = socket.create_server((LOCAL, 0))
        self.port = self._listening.getsockname()[1]
        self.start()

    def run(self) -> None:
        with self._listening, self._listening.accept()[0] as plain:
            try:
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            except OSError:
                pass  # the client did not like the certificate


def over_tls(server: TLSServer, name: str, monkeypatch: pytest.MonkeyPatch) -> outbound.Answer:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOCAL, server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.bundle)
    url = f"https://{name}:{server.port}/"
    return outbound.send("GET", url, allow=[f"{name}:{server.port}"], timeout_seconds=20)


def test_f46_tls_is_for_the_name_though_the_connection_is_to_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TLSServer(tmp_path, "secure.test")
    assert over_tls(server, "secure.test", monkeypatch).body == b"ok"
    assert server.names == ["secure.test"]
    server.join(20)


def test_a_certificate_for_another_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = TLSServer(tmp_path, "other.test")
    with pytest.raises(outbound.OutboundFailed, match="certificate or encryption was refused") as failed:
        over_tls(server, "secure.test", monkeypatch)
    assert failed.value.permanent
    server.join(20)
