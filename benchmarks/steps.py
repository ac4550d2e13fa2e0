"""Where the time of a turn goes: the moments that the ledger and the run keep, between those of the client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from benchmarks.clients import Answer
from conversations.models import Run
from maintenance.models import Attempt

STEPS = (
    "post received → run and job stored",
    "stored → pushed to Redis",
    "pushed → claimed by a worker",
    "claimed → run taken",
    "run taken → first token from the model",
    "first token → client has it",
    "first token → run completed",
    "run completed → client has it",
)


@dataclass(frozen=True)
class Step:
    name: str
    milliseconds: float


def of(answers: Sequence[Answer]) -> list[Step]:
    """The median of each step. The first six make up the time to the first delta."""
    runs = {
        run.pk: run for run in Run.objects.filter(pk__in=[answer.run_id for answer in answers]).select_related("job")
    }
    jobs = [run.job_id for run in runs.values()]
    attempts = {attempt.job_id: attempt for attempt in Attempt.objects.filter(job__in=jobs)}
    each = [_of_one(answer, runs[answer.run_id], attempts) for answer in answers]
    return [Step(name, median(values) * 1000) for name, values in zip(STEPS, zip(*each, strict=True), strict=True)]


def _of_one(answer: Answer, run: Run, attempts: Mapping[str, Attempt]) -> list[float]:
    assert run.job is not None
    stored, pushed, claimed, taken, first, ended = map(
        _seconds,
        (run.queued_at, run.job.pushed_at, attempts[run.job.pk].started_at, run.started_at, run.first_token_at,
         run.finished_at),
    )  # fmt: skip
    return [
        stored - answer.asked_at,
        pushed - stored,
        claimed - pushed,
        taken - claimed,
        first - taken,
        answer.first_at - first,
        ended - first,
        answer.whole_at - ended,
    ]


def _seconds(moment: datetime | None) -> float:
    assert moment is not None
    return moment.timestamp()
