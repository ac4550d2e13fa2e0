"""A turn whose model is not in memory: it goes back to the queue until a job has loaded the model."""

from typing import Any

from conversations import transitions
from conversations.models import Run
from conversations.stream import Publisher
from maintenance import executor
from maintenance.models import Job, new_job_id
from models_registry import loading
from models_registry.catalog import Resolved

Status = Run.Status


class ModelNotLoaded(Exception):
    """The turn cannot go on before its model is in memory."""

    def __init__(self, resolved: Resolved) -> None:
        super().__init__(resolved.config.model)
        self.resolved = resolved


def has_waited() -> bool:
    """Whether the turn of this job has gone back before, so that readers were told already."""
    execution = executor.current()
    return execution is not None and any(tag.startswith("awaits:") for tag in execution.execution.job.tags)


def require(resolved: Resolved, publish: Publisher) -> None:
    """Raise ModelNotLoaded where the call would wait for its model, and JobError where the load has failed.

    After a load that went well nobody waits again, whatever the server says: the call itself loads it then.
    """
    if not loading.is_needed(resolved):
        return
    load = _awaited()
    if load and not loading.check(load):
        return
    if not has_waited():
        publish.event("model_loading", model=resolved.config.model)
    raise ModelNotLoaded(resolved)


def _awaited() -> Job | None:
    execution = executor.current()
    return loading.awaited(execution.execution.job) if execution and has_waited() else None


def begin(run: Run, *, held_by: str, **changes: Any) -> bool:
    """Let go of the run, as if the turn had not begun. False where it is not this worker's, or is to be stopped.

    The caller enqueues its job, to wait for `loading.begin`, in the same transaction.
    """
    terms = {"lease_token": "", "lease_expires_at": None, "job_id": new_job_id(), "turn_count": run.turn_count - 1}
    return transitions.move(run, Status.QUEUED, held_by=held_by, **{**changes, **terms})
