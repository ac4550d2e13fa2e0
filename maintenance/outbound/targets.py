"""Where a URL leads, by a reading that leaves nothing to interpretation. What can be read in two ways is refused."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from maintenance.outbound.errors import OutboundRefused

MAX_CHARACTERS = 8000
DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{0,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# The last label of a name is never a number: 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 mean an address to some.
_NUMBER_AT_THE_END = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")
_UNQUOTED = "!#$%&'()*+,/:;=?@[]~"

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, kw_only=True)
class Target:
    """`host` is in lower case and ASCII, an IPv6 address without brackets; `path` has the query with it.

    `address` is there where the host is one, and not a name.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def parse(url: str, *, base: Target | None = None) -> Target:
    """Where `url` leads, seen from `base` where it is relative to that. Raises OutboundRefused."""
    if len(url) > MAX_CHARACTERS:
        raise OutboundRefused(f"The URL is longer than {MAX_CHARACTERS} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise OutboundRefused("The URL holds a blank, a backslash or a character that cannot be seen.")
    try:
        parts = urlsplit(urljoin(base.url, url) if base else url)
    except ValueError as error:
        raise OutboundRefused("The URL cannot be read.") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise OutboundRefused("The URL must begin with http:// or https://.")
    host, address, port = _authority(parts)
    return Target(scheme=parts.scheme, host=host, port=port, path=_path(parts), address=address)


def _authority(parts: SplitResult) -> tuple[str, Address | None, int]:
    if "@" in parts.netloc:
        raise OutboundRefused("The URL holds a user name or a password. Send those in a header.")
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise OutboundRefused("The URL has no host, or one that cannot be read.")
    port = int(found[2] or DEFAULT_PORTS[parts.scheme])
    if not 0 < port < 65536:
        raise OutboundRefused(f"There is no port {port}.")
    return (*_host(found[1]), port)


def _host(text: str) -> tuple[str, Address | None]:
    try:
        if text.startswith("["):
            address: Address = IPv6Address(text[1:-1])
            return str(address), address
        name = _ascii(text).removesuffix(".")
        if _NUMBER_AT_THE_END.search(name):
            return name, IPv4Address(name)
    except ValueError as error:
        raise OutboundRefused("The URL's host is no address in its usual form, and no name.") from error
    if not _NAME.fullmatch(name):
        raise OutboundRefused("The URL's host is no name that can be resolved.")
    return name, None


def _ascii(text: str) -> str:
    """The name as the name server knows it: full-width digits and dots become plain ones here. Raises ValueError."""
    return text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()


def _path(parts: SplitResult) -> str:
    path = parts.path or "/"
    return quote(f"{path}?{parts.query}" if parts.query else path, safe=_UNQUOTED)
