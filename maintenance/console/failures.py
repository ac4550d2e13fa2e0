"""Failed jobs by what broke them, and getting rid of old ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Count, Max, Min
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from maintenance import matching as work
from maintenance import selection
from maintenance.console import matching
from maintenance.models import Job
from maintenance.selection import Count as Number
from maintenance.selection import Selection

GROUPS_MAX = 100
# Looked into are the newest failed jobs only, or a flood of errors would take the page with it.
GROUPED_MAX = 10_000
HOURS_MAX = 24 * 3650
WORD = "flush"


@dataclass(frozen=True)
class Group:
    """Failed jobs with the same error. `sample` is the newest of them. `older`: some may have failed before `first`."""

    fingerprint: str
    number: int
    first: datetime
    last: datetime
    sample: Job
    older: bool


def groups() -> Sequence[Group]:
    """Those that failed last, `GROUPS_MAX` at most, found among the newest `GROUPED_MAX` failed jobs."""
    failed = Job.objects.filter(status=Job.Status.FAILED)
    keys = failed.order_by("-pk").values_list("pk", flat=True)
    # A range of keys, not a subquery of them: so the index of statuses is walked once.
    oldest = next(iter(keys[GROUPED_MAX - 1 : GROUPED_MAX]), "")
    rows = failed.filter(pk__gte=oldest).exclude(error_fingerprint="").order_by().values("error_fingerprint")
    found = rows.annotate(number=Count("pk"), first=Min("finished_at"), last=Max("finished_at"), sample=Max("pk"))
    found = found.order_by("-last")[:GROUPS_MAX]
    samples = Job.objects.only("name", "error").in_bulk([row["sample"] for row in found])
    totals = _totals([row["error_fingerprint"] for row in found]) if oldest else {}
    return [_group(row, samples[row["sample"]], totals) for row in found if row["sample"] in samples]


def _group(row: Mapping[str, Any], sample: Job, totals: dict[str, int]) -> Group:
    fingerprint = row["error_fingerprint"]
    number = max(row["number"], totals.get(fingerprint, 0))
    return Group(fingerprint, number, row["first"], row["last"], sample, older=number > row["number"])


def _totals(fingerprints: Sequence[str]) -> dict[str, int]:
    """How many jobs have each, from the index of fingerprints alone, which says nothing of when they failed."""
    rows = Job.objects.filter(error_fingerprint__in=fingerprints).exclude(error_fingerprint="").order_by()
    return dict(rows.values_list("error_fingerprint").annotate(number=Count("error_fingerprint")))


def page(request: HttpRequest, site_context: dict[str, Any]) -> HttpResponse:
    shown = {
        "title": "Failed jobs",
        "groups": groups(),
        "groups_max": GROUPS_MAX,
        "grouped_max": GROUPED_MAX,
        "number": selection.count(Job.objects.filter(status=Job.Status.FAILED), GROUPED_MAX),
        "verbs": [verb.name for verb in matching.VERBS.values() if request.user.has_perm(verb.permission)],
        "may_flush": request.user.has_perm(matching.VERBS["forget"].permission),
    }
    return render(request, "console/failures.html", {**site_context, **shown})


def flush(request: HttpRequest, site_context: dict[str, Any]) -> HttpResponse:
    """GET asks for a typed confirmation, POST starts the job. Raises PermissionDenied, BadRequest."""
    verb = matching.VERBS["forget"]
    if not request.user.has_perm(verb.permission):
        raise PermissionDenied
    hours = _hours(request)
    meant = Selection(status=Job.Status.FAILED, before=timezone.now() - timedelta(hours=hours))
    number = selection.count(work.jobs(meant))
    if request.method == "POST":
        if _is_meant(request.POST.get("confirmation", ""), number):
            return matching.start(request, verb, meant)
        messages.error(request, f"Nothing was deleted. To delete, type the word {WORD} or the number of jobs.")
    shown = {"title": "Flush failed jobs", "hours": hours, "number": number, "word": WORD}
    return render(request, "console/flush.html", {**site_context, **shown})


def _hours(request: HttpRequest) -> int:
    given = request.POST.get("hours") or request.GET.get("hours") or "24"
    if not given.isdecimal() or int(given) > HOURS_MAX:
        raise BadRequest("The age is a number of hours.")
    return int(given)


def _is_meant(typed: str, number: Number) -> bool:
    text = typed.strip().lower()
    return text == WORD or (not number.capped and text.replace(",", "") == str(number.number))
