"""Which addresses are not of the public internet, and why.

The lists follow IANA's registries of special-purpose addresses. Python's `is_global` is not enough: it differs from one
release to the next, and takes the metadata services of some clouds for public.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from maintenance.outbound.targets import Address

METADATA = "the metadata service of a cloud"
_RESERVED = "a reserved address"
_METADATA = {
    ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
                 "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")
}  # fmt: skip
_NETWORKS = {
    "an unspecified address": ("0.0.0.0/8", "::/128"),
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "a private address": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "an address inside a carrier's network": ("100.64.0.0/10",),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    _RESERVED: ("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
                 "203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20"),
}  # fmt: skip
_SPECIAL = [(ip_network(text), reason) for reason, texts in _NETWORKS.items() for text in texts]
_NAT64 = ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ip_network("2002::/16")
_PUBLIC_V6 = ip_network("2000::/3")


def plain(address: Address) -> Address:
    """The IPv4 address where this is only another way to write one."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def fault(address: Address) -> str:
    """What an address is, such as “a private address”; empty for one of the public internet."""
    return next(filter(None, map(_fault, _reached(plain(address)))), "")


def _reached(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that a translator would make of it."""
    yield address
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    elif address in _SIX_TO_FOUR:
        yield IPv4Address(int(address) >> 80 & 0xFFFFFFFF)


def _fault(address: Address) -> str:
    if address in _METADATA:
        return METADATA
    for network, reason in _SPECIAL:
        if address in network:
            return reason
    if isinstance(address, IPv6Address) and address not in _PUBLIC_V6 and address not in _NAT64:
        return _RESERVED
    return ""
