"""What the settings table `STACK` is made of. Nothing here needs Django to be ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec


class IfItFails(StrEnum):
    """What the end of a part means that never came up."""

    STOP = "stop"  # the stack is of no use without it: say why, and end
    WAIT = "wait"  # try again; the stack is not ready before it came up
    GO_ON = "go_on"  # try again; the stack is ready without it


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command that ends by itself and must succeed before anything after it starts.

    `beside`: the next steps need not wait for it, the next part does.
    `shown`: what it prints is for the operator's eyes, and for no log file.
    """

    name: str
    command: Sequence[str]
    beside: bool = False
    shown: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """A command that runs for as long as the stack does.

    `{port}` in `up` and `gives` is a free port on loopback, the same for the whole life of the stack.
    """

    name: str
    command: Sequence[str]
    up: str = ""
    """The address that answers when it is up: `tcp://`, `http://`, `redis://`, or `file:` and a path."""
    titled: str = ""
    """How the title begins that it gives itself when it is up. With neither, it is up once it has lived a second."""
    shown_as: str = ""
    """The address to tell the operator."""
    port_variable: str = ""
    """The variable that sets the port in `up`; the port is then checked before anything starts."""
    gives: Mapping[str, str] = field(default_factory=dict)
    """Variables that it adds to the environment of everything in the stack."""
    needs: Sequence[str] = ()
    """Packages without which it is left out."""
    if_it_fails: IfItFails = IfItFails.WAIT
    mend: Callable[[Sequence[str]], str] = lambda said: ""
    """Given the last lines of a part that must start and did not: repairs the cause and says how, or returns ""."""
    stop_seconds: float = 1.0
    """How long it may take to end after SIGTERM, before SIGKILL."""

    @property
    def missing(self) -> list[str]:
        """Which of the packages it needs are not installed."""
        return [name for name in self.needs if find_spec(name) is None]
