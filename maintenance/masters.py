"""The masters that run, on all hosts: what each says of itself in Redis, and how it is told what to do.

A master writes its record every second; one that has not written for `GONE_SECONDS` is gone. Commands wait in a list
of its own and are taken by it within a second.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, cast

from maintenance import broker

GONE_SECONDS = 15
PREFIX = "masters:"


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


class Command(StrEnum):
    PAUSE = "pause"
    CONTINUE = "continue"
    TERMINATE = "terminate"
    RESTART = "restart"


@dataclass(frozen=True, kw_only=True)
class Master:
    """One running master. Times are seconds since the epoch.

    `pools` holds for each pool `{"workers": [pid…], "wanted": n, "crash_loop": bool}`.
    """

    host: str
    pid: int
    started_at: float
    state: State
    leads: bool
    pools: Mapping[str, Any] = field(default_factory=dict)
    beat_at: float = 0.0

    @property
    def key(self) -> str:
        return key_of(self.host, self.pid)


def key_of(host: str, pid: int) -> str:
    return f"{PREFIX}{host}:{pid}"


def write(record: Master) -> None:
    """Say that this master runs. Raises RedisError."""
    text = json.dumps({**asdict(record), "beat_at": time.time()})
    broker.quick().set(record.key, text, ex=GONE_SECONDS)


def remove() -> None:
    """Say that this process's master is gone. Raises RedisError."""
    broker.quick().delete(key_of(socket.gethostname(), os.getpid()))


def everyone() -> list[Master]:
    """All masters that run, by host and pid. Raises RedisError."""
    redis = broker.quick()
    keys = [key for key in redis.scan_iter(f"{PREFIX}*", count=1000) if not key.endswith(b":commands")]
    texts = cast("Sequence[bytes | None]", redis.mget(keys)) if keys else []
    records = [Master(**{**json.loads(text), "state": State(json.loads(text)["state"])}) for text in texts if text]
    return sorted(records, key=lambda record: (record.host, record.pid))


def tell(command: Command) -> int:
    """Have every master do it; the number of masters that were told. Raises RedisError."""
    told = everyone()
    for record in told:
        broker.quick().rpush(f"{record.key}:commands", command.value)
        broker.quick().expire(f"{record.key}:commands", 60)
    return len(told)


def told() -> list[Command]:
    """What this process's master was told since it last asked. Raises RedisError."""
    key = f"{key_of(socket.gethostname(), os.getpid())}:commands"
    answers = cast("list[bytes] | None", broker.quick().lpop(key, 10)) or []
    return [Command(answer.decode()) for answer in answers if answer.decode() in set(Command)]
