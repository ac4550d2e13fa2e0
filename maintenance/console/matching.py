"""Acting on all jobs that a filter means: asked once, with their number, then done by a job that can be watched."""

from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from maintenance import jobs, matching, selection
from maintenance.access import audit
from maintenance.console import searching, verbs
from maintenance.console.operators import operator
from maintenance.declarations import JobFunction
from maintenance.errors import Refusal
from maintenance.selection import Selection

# What the list calls a filter, and what a selection calls it.
PARAMETERS = {"status__exact": "status", "queue": "queue", "name": "name", "fingerprint": "fingerprint"}
LABELS = {"since": "ended since", "before": "ended before", "fingerprint": "group of errors", "words": "error has",
          "name": "job"}  # fmt: skip
# Jobs that act on many share something: none goes on while another changes the rows under it.
ONE_AT_A_TIME = "matching"


@dataclass(frozen=True)
class Verb:
    """What is done to all of them. `done` completes "120 jobs are …"."""

    name: str
    permission: str
    job: "JobFunction[Any]"
    done: str


VERBS = {
    verb.name: verb
    for verb in (
        Verb("retry", verbs.RETRY, jobs.retry_matching, "queued again"),
        Verb("forget", verbs.DELETE, jobs.forget_matching, "forgotten"),
    )
}


def view(request: HttpRequest, verb_name: str, site_context: dict[str, Any]) -> HttpResponse:
    """GET asks, POST starts it. The filter is the query string of the list of jobs. Raises PermissionDenied."""
    verb = VERBS[verb_name]
    if not request.user.has_perm(verb.permission):
        raise PermissionDenied
    try:
        meant = of_query(request.GET)
    except Refusal as refusal:
        messages.error(request, refusal.message)
        return redirect(f"{reverse('admin:maintenance_job_changelist')}?{request.GET.urlencode()}")
    if request.method == "POST":
        return start(request, verb, meant)
    shown = {
        "title": f"{verb.name.capitalize()} all that match",
        "verb": verb,
        "number": selection.count(matching.jobs(meant)),
        "filters": in_words(meant),
        "back": request.GET.urlencode(),
    }
    return render(request, "console/matching.html", {**site_context, **shown})


def of_query(query: QueryDict) -> Selection:
    """The failed and cancelled jobs that the list shows for this query. Raises Invalid, BadRequest."""
    unknown = {*query} - {*PARAMETERS, "q", "p", "e"}
    if unknown:
        raise BadRequest(f"There is no filter {', '.join(sorted(unknown))}.")
    given: dict[str, Any] = {PARAMETERS[name]: query[name] for name in query if name in PARAMETERS and query[name]}
    searched = searching.filter_of(query.get("q", "").strip())
    clash = {name for name in searched if name in given and given[name] != searched[name]}
    if clash:
        raise BadRequest("The search and the filter name different jobs.")
    return Selection(**{**given, **searched})


def is_offered(query: QueryDict) -> bool:
    """Whether the list may show jobs that can be acted on."""
    return query.get("status__exact", "") in ("", *matching.ENDED)


def in_words(meant: Selection) -> list[tuple[str, str]]:
    """The filters as pairs of a label and a value; without a status it is said which ones are meant."""
    stated = {"status": "failed or cancelled", **meant.stated()}
    return [(LABELS.get(name, name).capitalize(), value) for name, value in stated.items()]


def start(request: HttpRequest, verb: Verb, meant: Selection) -> HttpResponse:
    """Enqueue the job, note it in the audit, and go to its page."""
    who = operator(request)
    # What ends from now on is not meant: nobody has seen it, and a job that fails again is not run in circles.
    filters = replace(meant, before=meant.before or timezone.now()).stated()
    row = verb.job.limited(ONE_AT_A_TIME, 1).by(who).enqueue(filters=filters)
    detail = {"job": row.pk, "filters": filters}
    audit.record(f"job.{verb.name}_matching", "jobs", actor=who, address=audit.address_of(request), detail=detail)
    messages.success(request, f"This job was started: by it, all that match are {verb.done}. It shows how far it is.")
    return redirect("admin:maintenance_job_change", row.pk)
