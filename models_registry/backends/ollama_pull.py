"""A pull at an Ollama server, line by line, until it says that it succeeded."""

import time
from collections.abc import Mapping
from typing import Any

from models_registry import errors
from models_registry.backends.base import OnProgress, PullProgress
from models_registry.backends.call import Call
from models_registry.backends.texts import clean

SUCCESS = "success"
AFTER_SUCCESS_SECONDS = 0.2  # the end of the body, after which the connection can be used again
# What the server does on its own disk; for a large model that takes long, and it says nothing meanwhile.
_LOCAL_PHASES = ("verifying", "writing", "removing")


class Pull:
    """One pull. `stall_seconds`: how long it may go without a byte or a phase that is new."""

    def __init__(self, call: Call, backend: str, model: str, stall_seconds: float) -> None:
        self._call = call
        self._exchange = call.exchange
        self._backend = backend
        self._model = model
        self._stall_seconds = stall_seconds
        self._reached: dict[tuple[str, str], int] = {}
        self._grew_at = time.monotonic()

    def run(self, on_progress: OnProgress) -> None:
        """Return when it has succeeded. Raises BackendError and Cancelled."""
        try:
            succeeded = self._succeeded(on_progress)
        except errors.BackendTimeout as error:
            if self._exchange.ended_by == "idle":
                raise self._stalled() from error
            raise
        if not succeeded:
            raise errors.StreamEnded(f"{self._backend} ended the pull of {self._model!r} before it was done.")

    def _succeeded(self, on_progress: OnProgress) -> bool:
        succeeded = False
        with self._call.opened("POST", "/api/pull", {"model": self._model, "stream": True}) as response:
            for line in self._call.lines(response):
                self._exchange.check()  # nothing is told after a cancel
                if error := line.get("error"):
                    raise self._call.error(error, response)
                progress = _progress(line)
                succeeded = succeeded or progress.phase == SUCCESS
                self._watch(progress)
                on_progress(progress)
        if not succeeded:
            self._exchange.check()
        return succeeded

    def _watch(self, progress: PullProgress) -> None:
        """Let lines that come count for nothing where they tell nothing new: the server repeats them for ever."""
        if progress.phase == SUCCESS:
            self._exchange.finishing(AFTER_SUCCESS_SECONDS)
            return
        self._exchange.began()
        local = progress.phase.startswith(_LOCAL_PHASES)
        self._exchange.allow(self._exchange.timeouts.total if local else self._stall_seconds)
        if self._grew(progress):
            self._grew_at = time.monotonic()
        elif not local and time.monotonic() - self._grew_at > self._stall_seconds:
            raise self._stalled()

    def _grew(self, progress: PullProgress) -> bool:
        """Whether anything is further than ever before; what was lost and comes again is no growth."""
        key, completed = (progress.phase, progress.digest), progress.completed or 0
        grew = completed > self._reached.get(key, -1)
        self._reached[key] = max(completed, self._reached.get(key, -1))
        return grew

    def _stalled(self) -> errors.PullStalled:
        seconds = f"{self._stall_seconds:g} s"
        return errors.PullStalled(f"The pull of {self._model!r} from {self._backend} has not moved for {seconds}.")


def _progress(line: Mapping[str, Any]) -> PullProgress:
    status, digest = line.get("status"), line.get("digest")
    return PullProgress(
        phase=clean(status) if isinstance(status, str) else "",
        digest=clean(digest) if isinstance(digest, str) else "",
        total=_bytes(line.get("total")),
        completed=_bytes(line.get("completed")),
    )


def _bytes(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
