"""The addresses of a stack, settled before anything of it starts: free ports chosen, the given ones kept."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from maintenance.stack.errors import StackError
from maintenance.stack.part import Part, Step
from maintenance.stack.ports import free_port, hold


def with_ports(stack: Sequence[Step | Part]) -> list[Step | Part]:
    """The same stack with a free port wherever a part says `{port}`."""
    return [_with_port(entry) if isinstance(entry, Part) else entry for entry in stack]


def _with_port(part: Part) -> Part:
    if not any("{port}" in text for text in (part.up, *part.gives.values())):
        return part
    port = str(free_port())
    return replace(
        part,
        up=part.up.replace("{port}", port),
        shown_as=part.shown_as.replace("{port}", port),
        gives={name: value.replace("{port}", port) for name, value in part.gives.items()},
    )


def keep(part: Part) -> socket.socket:
    """Bind the address of a part whose port the operator chose, until the part is started.

    Raises StackError that names the port and its variable.
    """
    address = urlsplit(part.up)
    host, port = address.hostname or "", address.port or 0
    try:
        return hold(host, port)
    except OSError as error:
        raise StackError(_why_not(error, part, host, port)) from None


def _why_not(error: OSError, part: Part, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken: something else listens there. "
            f"Stop it, or choose another port with {part.port_variable}, as in {part.port_variable}={port + 1}."
        )
    return f"Cannot listen on port {port} ({part.port_variable}) of {host}: {error.strerror or error}."
