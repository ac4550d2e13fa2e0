"""Whether what was to happen happened once: jobs as they were enqueued, as the ledger tells, and as they marked."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

from django.conf import settings
from redis.exceptions import RedisError

from benchmarks.marks import Execution, Marks
from maintenance import broker, queues, taking
from maintenance.models import Attempt, Job

SUCCEEDED = Attempt.Outcome.SUCCEEDED


@dataclass
class Verdict:
    """Jobs by what is wrong with them; `returned` and `forgotten` are no faults.

    `lost`        enqueued, and not completed; or completed, and not run to its end
    `forgotten`   only with the driver `redis`: Redis lost its data before the job had started
    `twice`       begun again after an execution that the ledger calls succeeded
    `overlapped`  run by two processes at the same time
    `unclear`     not exactly one execution succeeded, or one without an outcome, or one that the ledger does not know
    `returned`    run again because the process died after the function had returned and before that was written
    """

    jobs: int = 0
    recoveries: int = 0
    lost: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    overlapped: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)

    @property
    def faults(self) -> set[str]:
        return self.lost | self.twice | self.overlapped | self.unclear


def unfinished(ids: Collection[str]) -> int:
    """How many of these jobs have not ended. Counted over all jobs, which is quicker than asking for each."""
    if not ids:
        return 0
    return _carried() + Job.objects.filter(status__in=Job.UNFINISHED).count()


def _carried() -> int:
    """Calls that wait in Redis alone. While it is away or loading, there may be one."""
    if settings.QUEUE_CONNECTION != "redis":
        return 0
    try:
        return sum(queues.sizes().values())
    except RedisError:
        return 1


def judge(ids: Collection[str], marks: Marks) -> Verdict:
    """The verdict on these jobs. Nothing may be running any more."""
    marks.read()
    rows = {
        pk: (status, recoveries) for pk, status, recoveries in Job.objects.values_list("pk", "status", "recoveries")
    }
    outcomes: dict[str, dict[str, str]] = defaultdict(dict)
    for job_id, token, outcome in Attempt.objects.values_list("job", "lease_token", "outcome"):
        outcomes[job_id][token] = outcome
    verdict = Verdict(jobs=len(ids))
    for job_id in ids:
        status, recoveries = rows.get(job_id, ("", 0))
        verdict.recoveries += recoveries
        _judge_one(verdict, job_id, status, outcomes[job_id], marks.by_job[job_id])
    return verdict


def _judge_one(
    verdict: Verdict, job_id: str, status: str, outcomes: dict[str, str], executions: list[Execution]
) -> None:
    if settings.QUEUE_CONNECTION == "redis" and not status and not executions:
        verdict.forgotten.add(job_id)
        return
    done = [each for each in executions if each.done]
    if status != Job.Status.COMPLETED or not done:
        verdict.lost.add(job_id)
    ends = list(outcomes.values())
    if ends.count(SUCCEEDED) != 1 or "" in ends or any(each.token not in outcomes for each in executions):
        verdict.unclear.add(job_id)
    for first, second in pairwise(executions):
        if first.last_line > second.first_line:
            verdict.overlapped.add(job_id)
        if outcomes.get(first.token) == SUCCEEDED:
            verdict.twice.add(job_id)
        elif first.done:
            verdict.returned.add(job_id)


def leftovers() -> list[str]:
    """Keys in Redis of jobs which have all ended, that would stay there: RQ's own record of a failure does not."""
    redis = broker.quick()
    lists = [key for name in broker.queue_names() for key in (taking.queue_key(name), taking.taken_key(name))]
    found = [key.decode() for pattern in ("rq:job:*", "rq:wip:*", "rq:exec*") for key in redis.scan_iter(pattern)]
    return sorted(key for key in (*found, *lists) if redis.ttl(key) == -1)
