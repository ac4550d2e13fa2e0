"""A backend that pulls by script, so that a test says what its server sends, and when."""

import threading
from collections.abc import Sequence
from typing import Any

from models_registry.backends.base import Cancellation, Capabilities, OnProgress, PullProgress, Timeouts
from models_registry.backends.settings import BackendSettings
from models_registry.errors import Cancelled

MANIFEST = PullProgress(phase="pulling manifest")
SUCCESS = PullProgress(phase="success")


def layer(digest: str, total: int | None, completed: int | None = None) -> PullProgress:
    return PullProgress(phase=f"pulling {digest}", digest=f"sha256:{digest}", total=total, completed=completed)


# What a test has the server do: say a line, raise an error, or wait until the test lets it go on.
Step = PullProgress | Exception | threading.Event
WHOLE: Sequence[Step] = (MANIFEST, layer("a", 1000), layer("a", 1000, 600), layer("a", 1000, 1000), SUCCESS)


class Warehouse:
    """What all its backends do: `script` for each pull, one after the other; the last one again and again."""

    def __init__(self) -> None:
        self.scripts: list[Sequence[Step]] = [WHOLE]
        self.pulled: list[str] = []
        self.cancelled = threading.Event()

    def script(self) -> Sequence[Step]:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


class ScriptedBackend:
    """Only what a pull needs."""

    driver = "scripted"
    capabilities = Capabilities(model_management=True)

    def __init__(self, configured: BackendSettings, warehouse: Warehouse) -> None:
        self.name = configured.name
        self._warehouse = warehouse

    def canonical(self, model: str) -> str:
        return model.lower() if ":" in model else f"{model.lower()}:latest"

    def models(self) -> Sequence[Any]:
        return []

    def pull(self, model: str, on_progress: OnProgress, cancellation: Cancellation, timeouts: Timeouts) -> None:
        self._warehouse.pulled.append(model)
        woken = threading.Event()
        cancellation.on_cancel(woken.set)
        try:
            for step in self._warehouse.script():
                self._take(step, on_progress, woken)
        finally:
            cancellation.on_cancel(None)

    def _take(self, step: Step, on_progress: OnProgress, woken: threading.Event) -> None:
        if isinstance(step, Exception):
            raise step
        if isinstance(step, PullProgress):
            on_progress(step)
            return
        while not step.wait(0.01):
            if woken.is_set():
                self._warehouse.cancelled.set()
                raise Cancelled
