"""Which models the Ollama test server has in memory, and those that are on their way."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from models_registry.fakes.http import Play

STEP_SECONDS = 0.02


@dataclass
class _Load:
    ready_at: float
    waiters: int = 0


class Memory:
    """`windows`: tokens, by the name of each model that is loaded; 0 where it does not say.

    A load goes on only while somebody waits for it; `aborted` counts those that nobody waited for any more.
    """

    def __init__(self, loaded: Iterable[str]) -> None:
        self.windows: dict[str, int] = dict.fromkeys(loaded, 0)
        self.aborted = 0
        self._loads: dict[tuple[str, int], _Load] = {}

    def load(self, name: str, window: int, seconds: float) -> Play:
        """Wait until the model is there with this window; other waiters for the same share the load."""
        if self.windows.get(name) == window:
            return
        key = (name, window)
        load = self._loads.setdefault(key, _Load(time.monotonic() + seconds))
        load.waiters += 1
        try:
            while time.monotonic() < load.ready_at:
                yield STEP_SECONDS
            self.windows[name] = window
        finally:
            load.waiters -= 1
            if not load.waiters and self._loads.get(key) is load:
                del self._loads[key]
                self.aborted += self.windows.get(name) != window
