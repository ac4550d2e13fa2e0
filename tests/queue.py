"""Doing the work of the queues in the test's own process."""

from maintenance import broker, executor, queues
from maintenance.tables import Queue


def take() -> tuple[str, int] | None:
    """The next dispatch, most urgent queue first; None where nothing waits."""
    for queue in Queue:
        raw = broker.quick().lpop(f"rq:queue:{queue.value}")
        if raw:
            return queues.parse_rq_id(raw.decode())
    return None


def drain() -> list[str]:
    """Run everything that waits, and what that makes wait; the outcomes in order."""
    outcomes = []
    while dispatch := take():
        outcomes.append(executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="test"))
    return outcomes
