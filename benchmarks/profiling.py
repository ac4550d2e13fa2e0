"""Where the processor's time goes: the standard library's profiler, in all threads of this process."""

import cProfile
import pstats
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

WAITING = ("'acquire' of '_thread.lock'", "_queue.SimpleQueue", "select.poll", "select.select", "'poll' of 'select")


@dataclass(frozen=True)
class Line:
    """Milliseconds in the function itself and with all that it calls, and calls, for each time the work was done.

    `ours` for a function of this project.
    """

    function: str
    ours: bool
    own_ms: float
    cumulative_ms: float
    calls: float


class Profiler:
    """Made before the threads that it is to see: they are profiled from their start."""

    def __init__(self) -> None:
        self._profiles = [cProfile.Profile()]
        self._run = threading.Thread.run
        profiler = self

        def run(self: threading.Thread) -> None:
            profile = cProfile.Profile()
            profiler._profiles.append(profile)
            profile.enable()
            try:
                profiler._run(self)
            finally:
                profile.disable()

        threading.Thread.run = run  # type: ignore[method-assign]

    def measure(self, work: Callable[[], object], times: int) -> list[Line]:
        """Do it so many times in this thread. Time that is spent waiting for other threads is left out."""
        for profile in self._profiles:
            profile.clear()
        self._profiles[0].enable()
        try:
            for _ in range(times):
                work()
        finally:
            self._profiles[0].disable()
        return _lines(self._profiles, times)


def _lines(profiles: list[cProfile.Profile], times: int) -> list[Line]:
    stats = pstats.Stats(*(profile for profile in profiles if profile.getstats()))
    return [
        Line(_name(*where), _ours(where[0]), own / times * 1000, cumulative / times * 1000, calls / times)
        for where, (_, calls, own, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]
        if not any(word in where[2] for word in WAITING)
    ]


def _ours(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(settings.BASE_DIR) and not path.is_relative_to(settings.BASE_DIR / ".venv")


def _name(file: str, line: int, function: str) -> str:
    if file == "~":
        return function.strip("<>")
    path = Path(file)
    parts = path.relative_to(settings.BASE_DIR).parts if _ours(file) else path.parts[-4:]
    return f"{'/'.join(parts)}:{line} {function}"
