"""What operators do to jobs, with the permission it needs and the row it leaves in the audit."""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from maintenance import ledger, removal
from maintenance.access import audit
from maintenance.console.operators import operator
from maintenance.errors import Refusal

RETRY = "maintenance.retry_job"
DELETE = "maintenance.delete_job"
TERMINATE = "maintenance.terminate_worker"


@dataclass(frozen=True)
class Done:
    """How it went, in words. `job_id` is the job that goes on, which a retry may have made anew."""

    ok: bool
    text: str
    job_id: str

    def tell(self, request: HttpRequest) -> None:
        messages.add_message(request, messages.SUCCESS if self.ok else messages.ERROR, self.text)


def retry(request: HttpRequest, job_id: str) -> Done:
    """Run a failed or cancelled job again. Raises PermissionDenied."""
    return _audited(request, "job.retry", job_id, RETRY, _retry)


def cancel(request: HttpRequest, job_id: str, *, permission: str = RETRY) -> Done:
    """Cancel a waiting job, or ask a running one to stop. Raises PermissionDenied."""
    return _audited(request, "job.cancel", job_id, permission, _cancel)


def retry_all(request: HttpRequest, job_ids: list[str]) -> None:
    _tell_together(request, "queued again", [retry(request, job_id) for job_id in job_ids])


def cancel_all(request: HttpRequest, job_ids: list[str], *, permission: str = RETRY) -> None:
    _tell_together(request, "cancelled", [cancel(request, job_id, permission=permission) for job_id in job_ids])


def forget_all(request: HttpRequest, job_ids: list[str]) -> None:
    """Delete these jobs, of which each must have failed or been cancelled. Raises PermissionDenied."""
    _tell_together(
        request, "forgotten", [_audited(request, "job.forget", job_id, DELETE, _forget) for job_id in job_ids]
    )


def _audited(
    request: HttpRequest, verb: str, job_id: str, permission: str, act: Callable[[HttpRequest, str], Done]
) -> Done:
    if not request.user.has_perm(permission):
        raise PermissionDenied
    try:
        done = act(request, job_id)
    except Refusal as refusal:
        done = Done(False, refusal.message, job_id)
    audit.record(
        verb,
        f"job:{job_id}",
        actor=operator(request),
        address=audit.address_of(request),
        result="ok" if done.ok else done.text,
    )
    return done


def _retry(request: HttpRequest, job_id: str) -> Done:
    again = ledger.retry(job_id, by=operator(request))
    how = "Queued again" if again.pk == job_id else "Queued as a new job"
    return Done(True, f"{how}: {again.name}.", again.pk)


def _cancel(request: HttpRequest, job_id: str) -> Done:
    if ledger.cancel(job_id, by=operator(request)):
        return Done(True, "The job was cancelled. If it runs, it stops as soon as it looks.", job_id)
    return Done(False, "The job has ended already; there is nothing to cancel.", job_id)


def _forget(request: HttpRequest, job_id: str) -> Done:
    if removal.forget_failed([job_id]):
        return Done(True, "The job was forgotten.", job_id)
    return Done(False, "Only a failed or cancelled job can be forgotten.", job_id)


def _tell_together(request: HttpRequest, what: str, all_done: list[Done]) -> None:
    """One message for what went well and one for each reason that something did not."""
    well = sum(done.ok for done in all_done)
    if well:
        messages.success(request, f"{well} job{'s were' if well > 1 else ' was'} {what}.")
    for reason in sorted({done.text for done in all_done if not done.ok}):
        number = sum(done.text == reason for done in all_done)
        messages.error(request, f"{number} not: {reason}")
