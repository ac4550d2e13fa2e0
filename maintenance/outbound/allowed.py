"""What an operator opens: addresses that are not public, and ports, by OUTBOUND_ALLOWED and OUTBOUND_PORTS."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from django.conf import settings

from maintenance.outbound import addresses
from maintenance.outbound.errors import OutboundRefused
from maintenance.outbound.targets import Address, Target

T = TypeVar("T")
_ENTRY = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


@dataclass(frozen=True)
class Entry:
    """One host or network that is open, at one port or at those that all hosts are open at."""

    where: str | IPv4Network | IPv6Network
    port: int | None = None

    def holds(self, target: Target, address: Address) -> bool:
        if isinstance(self.where, str):
            return self.where == target.host
        return address in self.where and (addresses.fault(address) != addresses.METADATA or self._is_alone())

    def _is_alone(self) -> bool:
        # Whoever opens a network of his own has hardly thought of the metadata service in it.
        return not isinstance(self.where, str) and self.where.num_addresses == 1


def entry(text: str) -> Entry:
    """What `text` opens: a name, an address, either with a port, or a network. Raises ValueError."""
    try:
        return Entry(ip_network(text))
    except ValueError:
        found = _ENTRY.fullmatch(text)
    if found is None or "/" in text:
        raise ValueError(f"{text!r} is no name, address or network")
    port = _port(found["port"]) if found["port"] else None
    host = (found["v6"] or found["host"]).lower().removesuffix(".")
    try:
        return Entry(ip_network(host), port)
    except ValueError:
        if not _NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
            raise ValueError(f"{text!r} is no name, address or network") from None
    return Entry(host, port)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{text!r} is no port")
    return int(text)


def faults() -> list[str]:
    """What in the settings cannot be read. It opens nothing."""
    return [*_read(entry, settings.OUTBOUND_ALLOWED)[1], *_read(_port, settings.OUTBOUND_PORTS)[1]]


class Allowed:
    """What the settings open, and what the caller opens besides, in the same words."""

    def __init__(self, besides: Sequence[str] = ()) -> None:
        self._entries, _ = _read(entry, [*settings.OUTBOUND_ALLOWED, *besides])
        self._ports, _ = _read(_port, settings.OUTBOUND_PORTS)

    def judge(self, target: Target, address: Address) -> None:
        """Raise OutboundRefused where `target`, found at `address`, may not be reached."""
        address = addresses.plain(address)
        opening = [opened for opened in self._entries if opened.holds(target, address)]
        fault = addresses.fault(address)
        if fault and not any(opened.port in (None, target.port) for opened in opening):
            # Without the address: whoever asks is not to learn what names inside the network stand for.
            raise OutboundRefused(f"{target.host} is {fault}, which is not open from here. An operator can open it.")
        if target.port not in self._ports and not any(opened.port == target.port for opened in opening):
            open_ports = ", ".join(map(str, self._ports))
            raise OutboundRefused(f"Port {target.port} is not open from here, only {open_ports}.")


def _read(reader: Callable[[str], T], texts: Iterable[str]) -> tuple[list[T], list[str]]:
    """What `reader` makes of the texts, and what it says about those that it cannot read."""
    values: list[T] = []
    unread: list[str] = []
    for text in texts:
        try:
            values.append(reader(text))
        except ValueError as error:
            unread.append(str(error))
    return values, unread
