"""From a host to the addresses that a connection may be made to."""

import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from maintenance.outbound.allowed import Allowed
from maintenance.outbound.deadline import STEP_SECONDS, Deadline
from maintenance.outbound.errors import OutboundFailed
from maintenance.outbound.targets import Target


@dataclass(frozen=True)
class Route:
    """An address that was judged, as a socket takes it."""

    family: int
    place: tuple[Any, ...]


def routes(target: Target, allowed: Allowed, deadline: Deadline) -> Sequence[Route]:
    """Where `target` is to be found. Raises OutboundRefused where one of its addresses is closed, OutboundFailed."""
    if target.address:
        allowed.judge(target, target.address)
        family = socket.AF_INET6 if isinstance(target.address, IPv6Address) else socket.AF_INET
        return [Route(family, (target.host, target.port))]
    found = _looked_up(target, deadline)
    # Every one: a name that leads to a closed address beside an open one was made for no good purpose.
    for route in found:
        allowed.judge(target, ip_address(str(route.place[0]).partition("%")[0]))
    return found


def _looked_up(target: Target, deadline: Deadline) -> Sequence[Route]:
    """The addresses of a name, asked for once. In a thread: the system's resolver knows no deadline."""
    lookup = _Lookup(target)
    lookup.start()
    while lookup.is_alive() and deadline.remaining() > 0:
        lookup.join(STEP_SECONDS)
    if lookup.is_alive():
        text = f"The name {target.host} was not resolved in time."
        raise OutboundFailed(text, code="outbound_timeout")
    if not lookup.found:
        raise OutboundFailed(f"The name {target.host} could not be resolved.", code="outbound_unreachable")
    return lookup.found


class _Lookup(threading.Thread):
    def __init__(self, target: Target) -> None:
        super().__init__(name="outbound-lookup", daemon=True)
        self._target = target
        self.found: list[Route] = []

    def run(self) -> None:
        try:
            answers = socket.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        families = (socket.AF_INET, socket.AF_INET6)
        self.found = [Route(family, place) for family, _, _, _, place in answers if family in families]
