"""Ports that are free, and ports that are not."""

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on. Raises OSError if a hundred tries find none.

    Not one of the kernel's ephemeral ports: an outgoing connection could hold it when its server starts again,
    and clients that retry a closed ephemeral port on their own host sooner or later connect to themselves.
    """
    top = max(_first_ephemeral(), 12_000)
    for _ in range(100):
        port = random.randrange(10_000, top)
        try:
            hold("127.0.0.1", port).close()
        except OSError:
            continue
        return port
    raise OSError("no free port on 127.0.0.1")


def hold(host: str, port: int) -> socket.socket:
    """Bind the address without listening, so that it is ours until the socket is closed. Raises OSError if taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, kind, protocol)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
    except OSError:
        held.close()
        raise
    return held
