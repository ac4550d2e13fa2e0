"""What may be asked for, and what may not: URLs, addresses, ports, headers, redirects, names that change."""

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.core.checks.registry import registry
from pytest_django.fixtures import Settings

from maintenance import outbound
from maintenance.errors import Refusal
from maintenance.outbound import checks
from models_registry.fakes.http import Received, Script, Server, document, head

# Names of the tests' own resolver, and what they lead to.
NAMES = {
    "public.test": ["93.184.215.14"],
    "inside.test": ["10.0.0.7"],
    "half-inside.test": ["93.184.215.14", "192.168.1.1"],
    "half-inside-v6.test": ["93.184.215.14", "fd00::7"],
    "myself.test": ["127.0.0.1"],
    "myself-v6.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "localhost": ["127.0.0.1", "::1"],
    "link.test": ["fe80::1%2"],
}

HOSTILE = [
    # loopback
    "http://127.0.0.1/", "http://127.0.0.1:80/", "http://127.8.9.10/", "http://localhost/", "http://LOCALHOST./",
    "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://myself.test/", "http://myself-v6.test/",
    # other spellings of it
    "http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://127.1/", "http://127.0.1/",
    "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://127.0.0.1./", "http://127.0.0.1../", "http://0x7f.1/",
    "http://１２７.０.０.１/", "http://127。0。0。1/", "http://①②⑦.0.0.1/", "http://127.0.0.01/", "http://4294967297/",
    "http://%31%32%37.0.0.1/", "http://127%2e0%2e0%2e1/",
    # this host, networks of one's own, networks of carriers
    "http://0.0.0.0/", "http://0/", "http://[::]/", "http://10.1.2.3/", "http://172.16.0.1/", "http://172.31.255.255/",
    "http://192.168.0.1/", "http://100.64.0.1/", "http://100.127.255.254/", "http://[fc00::1]/", "http://[fd12:3456::1]/",
    "http://[fec0::1]/", "http://inside.test/", "http://half-inside.test/", "http://half-inside-v6.test/",
    # link-local and the metadata services of clouds
    "http://169.254.0.1/", "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/",
    "http://[fe80::1]/", "http://link.test/", "http://[fd00:ec2::254]/", "http://100.100.100.200/",
    "http://168.63.129.16/", "http://192.0.0.192/", "http://2852039166/", "http://169.254.43518/",
    # IPv4 inside IPv6
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:169.254.169.254]/", "http://mapped.test/",
    "http://[::127.0.0.1]/", "http://[::7f00:1]/", "http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a00:1]/",
    "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/", "http://[2002:c0a8:101::1]/", "http://[2001:0:1::1]/",
    # reserved and multicast
    "http://192.0.2.1/", "http://198.18.0.1/", "http://198.51.100.9/", "http://203.0.113.9/", "http://192.88.99.1/",
    "http://224.0.0.1/", "http://239.1.1.1/", "http://240.0.0.1/", "http://255.255.255.255/", "http://[ff02::1]/",
    "http://[2001:db8::1]/", "http://[100::1]/", "http://[4000::1]/",
    # who one pretends to be, and where the host ends
    "http://user@public.test/", "http://user:password@public.test/", "http://public.test@127.0.0.1/", "http://@public.test/",
    "http://public.test:80@127.0.0.1/", "http://public.test\\@127.0.0.1/", "http://127.0.0.1\\@public.test/",
    "http://127.0.0.1#@public.test/", "http://127.0.0.1?@public.test/",
    "http://public.test%2f@127.0.0.1/", "http://public.test%00.127.0.0.1/", "http://[::1]@public.test/",
    "http://[::1]public.test/", "http://public.test[::1]/", "http://[::1%25lo]/", "http://[127.0.0.1]/", "http://[::1/",
    # what no URL has
    "http://public.test/a b", "http://public.test/\r\nX-Evil: 1", "http://public.test/\nHost: x", "http://pub\tlic.test/",
    "http://public.test/\x00", " http://public.test/", "http://public.test/\u202e", "http://public\u200b.test/",
    "http://public.test/\x85", "http://\ud800.test/", "http://public..test/", "http://.public.test/", "http://public.test../",
    "http://-public.test/", "http://" + "a" * 64 + ".test/", "http://" + "a." * 130 + "test/", "http://xn--zzzzzz9999ü.test/",
    "http://public.test/" + "a" * 9000, "http:///", "http://", "http:public.test", "http:/public.test",
    "//public.test/",
    "/", "", "HTTP://127.0.0.1/", "https://127.0.0.1/", "https://[::1]:443/", "http://[::]:80/", "http://inside.test./",
    "http://127.0.0.1:443/", "http://0x0/", "http://00.0.0.0/", "http://[0::ffff:0a00:0001]/", "http://[fe80::1]:443/",
    # schemes and ports
    "ftp://public.test/", "file:///etc/passwd", "file://localhost/etc/passwd", "gopher://public.test:80/_",
    "dict://public.test/",
    "ws://public.test/", "javascript:alert(1)", "data:text/plain,x", "jar:http://public.test!/", "httpx://public.test/",
    "http://public.test:22/", "http://public.test:6379/", "http://public.test:8080/", "https://public.test:25/",
    "http://public.test:0/", "http://public.test:65536/", "http://public.test:99999999/", "http://public.test:-1/",
    "http://public.test:80:80/", "http://public.test:８０８０/", "http://public.test:8 0/", "http://93.184.215.14:2375/",
]  # fmt: skip


class Network:
    """A resolver that knows NAMES, and a record of every address that somebody connects to."""

    def __init__(self) -> None:
        self.names = {name: list(addresses) for name, addresses in NAMES.items()}
        self.lookups: list[str] = []
        self.connections: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.lookups.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.names[host]
        ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    connect = socket.socket.connect

    def recorded(self: socket.socket, place: Any) -> None:
        made.connections.append(place[0])
        if not place[0].startswith("127."):
            raise ConnectionRefusedError("the tests have no network")
        connect(self, place)

    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", recorded)
    return made


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Received], Script]], Server]]:
    """Makes servers on 127.0.0.1 that answer as they are told."""
    servers: list[Server] = []

    def start(answer: Callable[[Received], Script]) -> Server:
        servers.append(Server(answer).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def get(url: str, **values: Any) -> outbound.Answer:
    return outbound.send("GET", url, **{"timeout_seconds": 20, **values})


def redirect(status: int, location: str) -> Script:
    return [head(status, {"location": location, "content-length": "0"})]


@pytest.mark.parametrize("url", HOSTILE, ids=ascii)
def test_f46_no_hostile_url_leads_anywhere(network: Network, url: str) -> None:
    with pytest.raises(outbound.OutboundRefused) as refused:
        get(url)
    assert network.connections == []
    assert refused.value.code == "outbound_refused"
    assert isinstance(refused.value, Refusal)


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 150


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://public.test/", "93.184.215.14"),
        ("https://PUBLIC.test.:443/a?b=c#d", "93.184.215.14"),
        ("http://93.184.215.14/", "93.184.215.14"),
        ("http://[2606:4700::1111]/", "2606:4700::1111"),
        ("http://[::ffff:93.184.215.14]/", "::ffff:5db8:d70e"),
        ("http://[64:ff9b::5db8:d70e]/", "64:ff9b::5db8:d70e"),
        ("http://172.32.0.1/", "172.32.0.1"),
        ("http://100.128.0.1/", "100.128.0.1"),
    ],
)
def test_public_addresses_are_connected_to(network: Network, url: str, address: str) -> None:
    with pytest.raises(outbound.OutboundFailed) as failed:
        get(url)
    assert failed.value.code == "outbound_unreachable"
    assert network.connections == [address]


def test_a_name_that_is_not_ascii_is_asked_for_as_name_servers_know_it(network: Network) -> None:
    with pytest.raises(outbound.OutboundFailed, match="could not be resolved"):
        get("http://Bücher.example/")
    assert network.lookups == ["xn--bcher-kva.example"]


# Names


def test_f46_a_name_is_resolved_once_and_the_connection_goes_there(network: Network, serve: Serve) -> None:
    """A name server that gives a public address to a check and a private one to a connection is not asked twice."""
    server = serve(lambda received: document(200, {"host": received.headers["host"]}))
    answers = iter([["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]])
    real = network.getaddrinfo

    def changing(host: str, *values: Any, **more: Any) -> list[Any]:
        network.names[host] = next(answers)
        return real(host, *values, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", changing)
        with pytest.raises(outbound.OutboundFailed):
            get(f"http://rebinding.test:{port(server)}/", allow=[f"93.184.215.14:{port(server)}"])
    assert network.lookups == ["rebinding.test"]
    assert network.connections == ["93.184.215.14"]
    assert list(server.received) == []


def test_the_server_is_told_the_name_that_was_asked_for(network: Network, serve: Serve) -> None:
    server = serve(lambda received: document(200, {}))
    get(f"http://MYSELF.test:{port(server)}/a%20b?c=ü#d", allow=[f"myself.test:{port(server)}"])
    (received,) = server.received
    assert received.headers["host"] == f"myself.test:{port(server)}"
    assert received.path == "/a%20b?c=%C3%BC"


def test_the_next_address_of_a_name_is_tried(network: Network, serve: Serve) -> None:
    server = serve(lambda received: document(200, {}))
    network.names["two.test"] = ["93.184.215.14", "127.0.0.1"]
    assert get(f"http://two.test:{port(server)}/", allow=[f"two.test:{port(server)}"]).status == 200
    assert network.connections == ["93.184.215.14", "127.0.0.1"]


def test_a_refusal_does_not_tell_what_a_name_inside_the_network_stands_for(network: Network) -> None:
    with pytest.raises(outbound.OutboundRefused) as refused:
        get("http://inside.test/")
    assert "inside.test is a private address" in refused.value.message
    assert "10.0.0.7" not in refused.value.message


# What an operator opens


@pytest.mark.parametrize(
    ("allowed", "url", "is_open"),
    [
        ("10.0.0.0/8", "http://inside.test/", True),
        ("10.0.0.7", "http://inside.test/", True),
        ("inside.test", "http://INSIDE.test./", True),
        ("inside.test", "http://10.0.0.7/", False),
        ("10.0.0.8", "http://inside.test/", False),
        ("10.0.0.0/8", "http://inside.test:8080/", False),
        ("10.0.0.7:8080", "http://inside.test:8080/", True),
        ("10.0.0.7:8080", "http://inside.test/", False),
        ("inside.test:8080", "http://inside.test:8080/", True),
        ("[fd12::1]:8080", "http://[fd12::1]:8080/", True),
        ("fd12::/16", "http://[fd12::1]/", True),
        ("public.test:8080", "http://public.test:8080/", True),
        ("public.test:8080", "http://93.184.215.14:8080/", False),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.7]/", True),
        ("192.168.0.0/16", "http://half-inside.test/", True),
        ("fd00::/8", "http://[fd00:ec2::254]/", False),
        ("169.254.0.0/16", "http://169.254.169.254/", False),
        ("169.254.169.254", "http://169.254.169.254/", True),
        ("nonsense/99", "http://inside.test/", False),
    ],
)
def test_an_operator_opens_addresses_by_setting(
    settings: Settings, network: Network, allowed: str, url: str, is_open: bool
) -> None:
    settings.OUTBOUND_ALLOWED = [allowed]
    with pytest.raises(outbound.OutboundFailed if is_open else outbound.OutboundRefused):
        get(url)
    assert bool(network.connections) is is_open


def test_ports_are_a_setting(settings: Settings, network: Network) -> None:
    settings.OUTBOUND_PORTS = ["8443"]
    with pytest.raises(outbound.OutboundFailed):
        get("https://public.test:8443/")
    with pytest.raises(outbound.OutboundRefused, match=r"Port 443 is not open from here, only 8443\."):
        get("https://public.test/")


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.1/8", "10.0.0.0/33", "http://x.test", "x.test:0", "x.test:65536", "*", "1.2.3", "[::1", "::1/129", "a b"],
)
def test_an_entry_that_nobody_understands_is_found_at_the_start(settings: Settings, entry: str) -> None:
    settings.OUTBOUND_ALLOWED = ["inside.test", entry]
    (found,) = checks.outbound(None)
    assert found.id == "maintenance.E014"
    assert repr(entry) in found.msg or repr(entry.rpartition(":")[2]) in found.msg


def test_ports_and_limits_that_let_nothing_through_are_found_at_the_start(settings: Settings) -> None:
    settings.OUTBOUND_PORTS = ["http"]
    settings.OUTBOUND_MAX_BYTES = 0
    assert [found.id for found in checks.outbound(None)] == ["maintenance.E014", "maintenance.E015"]


def test_good_settings_are_checked_and_give_no_finding() -> None:
    assert checks.outbound in registry.get_checks()
    assert checks.outbound(None) == []


# Redirects


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{own}/", "//169.254.169.254/latest/", "http://inside.test/", "http://[::1]:{own}/",
     "http://2130706433/", "file:///etc/passwd", "http://user:secret@public.test/", "http://public.test:22/",
     "http://public.test\\@127.0.0.1/", "\\\\127.0.0.1\\"],
)  # fmt: skip
def test_f46_each_redirect_is_judged_anew(network: Network, serve: Serve, location: str) -> None:
    server = serve(lambda received: redirect(302, location.format(own=port(server))))
    with pytest.raises(outbound.OutboundRefused):
        get(f"http://myself.test:{port(server)}/", allow=[f"myself.test:{port(server)}"])
    assert len(server.received) == 1
    assert network.connections == ["127.0.0.1"]


def test_f46_a_name_is_resolved_again_for_each_redirect(network: Network, serve: Serve) -> None:
    """And judged again: it may lead elsewhere by then."""

    def answer(received: Received) -> Script:
        network.names["turning.test"] = ["192.168.1.1"]
        return redirect(302, "/again")

    network.names["turning.test"] = ["127.0.0.1"]
    server = serve(answer)
    with pytest.raises(outbound.OutboundRefused):
        get(f"http://turning.test:{port(server)}/", allow=[f"127.0.0.1:{port(server)}"])
    assert len(server.received) == 1


def test_a_redirect_to_where_all_is_open_is_followed(network: Network, serve: Serve) -> None:
    pages = {"/a/b": redirect(301, "../c?d=1"), "/c?d=1": document(200, {"here": True})}
    server = serve(lambda received: pages[received.path])
    answer = get(f"http://myself.test:{port(server)}/a/b", allow=[f"myself.test:{port(server)}"])
    assert answer.body == b'{"here": true}'
    assert answer.url == f"http://myself.test:{port(server)}/c?d=1"


def test_a_circle_of_redirects_ends(network: Network, serve: Serve) -> None:
    server = serve(lambda received: redirect(302, "/"))
    with pytest.raises(outbound.OutboundFailed, match="More than 5 redirects") as failed:
        get(f"http://myself.test:{port(server)}/", allow=[f"myself.test:{port(server)}"], attempts=3)
    assert failed.value.permanent
    assert len(server.received) == 6


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (301, "PUT", "PUT"),
     (307, "POST", "POST"), (308, "POST", "POST"), (302, "GET", "GET")],
)  # fmt: skip
def test_a_redirect_changes_the_method_as_browsers_do(
    network: Network, serve: Serve, status: int, method: str, then: str
) -> None:
    server = serve(lambda received: redirect(status, "/b") if received.path == "/a" else [head(204, {})])
    body = None if method in ("GET", "HEAD") else b'{"a": 1}'
    url = f"http://myself.test:{port(server)}/a"
    outbound.send(method, url, body=body, allow=[f"myself.test:{port(server)}"], timeout_seconds=20)
    first, second = server.received
    assert (first.method, second.method) == (method, then)
    assert second.body == (first.body if then == method else None)


def sent_after_a_redirect(serve: Serve, to: Callable[[int, int], str]) -> Sequence[Received]:
    other = serve(lambda received: document(200, {}))
    first = serve(
        lambda received: redirect(307, to(port(first), port(other))) if received.path == "/" else [head(204, {})]
    )
    headers = {"Authorization": "Bearer secret", "X-Api-Key": "secret", "Cookie": "a=secret", "Accept": "text/html"}
    allow = [f"myself.test:{port(first)}", f"myself.test:{port(other)}"]
    get(f"http://myself.test:{port(first)}/", headers=headers, allow=allow)
    return [*first.received, *other.received]


def test_f46_keys_do_not_follow_to_another_origin(network: Network, serve: Serve) -> None:
    first, second = sent_after_a_redirect(serve, lambda own, other: f"http://myself.test:{other}/")
    assert first.headers["x-api-key"] == "secret"
    assert "secret" not in str(second.headers)
    assert second.headers["accept"] == "text/html"


def test_keys_stay_within_one_origin(network: Network, serve: Serve) -> None:
    _, second = sent_after_a_redirect(serve, lambda own, other: "/next")
    assert second.headers["authorization"] == "Bearer secret"


# Headers and methods


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nY: b"}, {"X\r\nY": "b"}, {"X:": "b"}, {"": "b"}, {"X": "a\x00"}, {"X": "漢"}, {"Host": "127.0.0.1"},
     {"content-length": "0"}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"}, {"Proxy-Connection": "x"}],
)  # fmt: skip
def test_headers_that_would_say_something_else_are_refused(network: Network, headers: dict[str, str]) -> None:
    with pytest.raises(outbound.OutboundRefused, match="header"):
        get("http://public.test/", headers=headers)
    assert network.lookups == []


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "GET / HTTP/1.1\r\nX: y", ""])
def test_methods_are_those_that_tools_need(network: Network, method: str) -> None:
    with pytest.raises(outbound.OutboundRefused, match="method"):
        outbound.send(method, "http://public.test/")
