"""So many users at once who ask one question after another, of the model itself and of the server, in turns."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from benchmarks import processes
from benchmarks.clients import Answer, Client, client, direct


@dataclass(frozen=True)
class Scenario:
    """`rounds` times: `users` users get `turns` answers from the model, then as many from the server."""

    name: str
    model: str
    users: int
    turns: int
    rounds: int = 3


@dataclass
class Side:
    """What one side did: its answers, the seconds that they took all together, and the CPU's by part."""

    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return len(self.answers) / self.seconds

    @property
    def cpu_ms(self) -> dict[str, float]:
        """Per answer, by part."""
        return {part: seconds / len(self.answers) * 1000 for part, seconds in self.cpu_seconds.items()}


@dataclass
class Outcome:
    scenario: Scenario
    direct: Side = field(default_factory=Side)
    system: Side = field(default_factory=Side)


Asks = Iterable[Callable[[], Awaitable[Answer]]]


def run(
    scenario: Scenario, *, token: str, text: str, conversations: Sequence[int], parts: Mapping[str, int]
) -> Outcome:
    """Measure. `parts` are the server's processes by name; what they started counts with them."""
    return asyncio.run(_run(scenario, token, text, conversations, parts))


async def _run(
    scenario: Scenario, token: str, text: str, conversations: Sequence[int], parts: Mapping[str, int]
) -> Outcome:
    outcome = Outcome(scenario)
    directs = [direct(scenario.model, text) for _ in range(scenario.users)]
    clients = [client(token, text) for _ in range(scenario.users)]
    # Each user has conversations of its own: two messages at once in one would wait for each other.
    own = [cycle(conversations[number :: scenario.users]) for number in range(scenario.users)]
    for _ in range(scenario.rounds):
        await _share_out(outcome.direct, [asker.ask for asker in directs], scenario.turns)
        before = _cpu_seconds(parts)
        await _share_out(outcome.system, _asks(clients, own), scenario.turns)
        outcome.system.cpu_seconds += _cpu_seconds(parts) - before
    for asker in directs:
        asker.close()
    for posting in clients:
        posting.close()
    return outcome


def _cpu_seconds(parts: Mapping[str, int]) -> Counter[str]:
    return Counter({name: processes.cpu_seconds([pid]) for name, pid in parts.items()})


def _asks(clients: Sequence[Client], own: Sequence[Iterable[int]]) -> Asks:
    def asking(asker: Client, conversations: Iterable[int]) -> Callable[[], Awaitable[Answer]]:
        ids = iter(conversations)
        return lambda: asker.ask(next(ids))

    return [asking(asker, ids) for asker, ids in zip(clients, own, strict=True)]


async def _share_out(side: Side, asks: Asks, turns: int) -> None:
    left = iter(range(turns))

    async def asker(ask: Callable[[], Awaitable[Answer]]) -> None:
        for _ in left:
            side.answers.append(await ask())

    began = time.monotonic()
    await asyncio.gather(*map(asker, asks))
    side.seconds += time.monotonic() - began
