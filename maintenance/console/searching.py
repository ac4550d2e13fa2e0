"""Finding jobs by what an operator has in hand: an id, a job's name, a tag, or words of an error."""

from django.db.models import QuerySet

from maintenance import ledger
from maintenance.console.lists import COUNT_MAX
from maintenance.models import Job, JobTag

# Errors have no index, so no more than the newest jobs are looked through.
SEARCHED_MAX = 100_000
HELP = (
    "Id or its beginning, job name, tag such as conversation:7, or words of an error "
    f"(in the newest {SEARCHED_MAX:,} jobs)."
)
ID_LENGTH = 32


def _looks_like_id(text: str) -> bool:
    digits = text.lower()
    return 8 <= len(digits) <= ID_LENGTH and all(digit in "0123456789abcdef" for digit in digits)


def _looks_like_tag(text: str) -> bool:
    kind, colon, key = text.partition(":")
    return bool(colon and kind.isidentifier() and key and " " not in key)


def search(rows: "QuerySet[Job]", text: str) -> "QuerySet[Job]":
    """The rows that `text` means. A dispatch number after the id, as RQ shows it, is cut off."""
    head, _, dispatch = text.rpartition("-")
    if dispatch.isdigit() and _looks_like_id(head):
        text = head
    if _looks_like_id(text):
        # A range, not a prefix: SQLite's LIKE does not use the index.
        return rows.filter(pk__gte=text.lower(), pk__lt=text.lower() + "g")
    if text in ledger.names():
        return rows.filter(name=text)
    if _looks_like_tag(text):
        # No more than a list counts: a tag such as an agent's may be on every job.
        newest = JobTag.objects.filter(tag=text).order_by("-job_id").values("job_id")
        return rows.filter(pk__in=newest[: COUNT_MAX + 1])
    return _newest(rows).filter(error__icontains=text)


def _newest(rows: "QuerySet[Job]") -> "QuerySet[Job]":
    keys = Job.objects.order_by("-pk").values_list("pk", flat=True)
    oldest = next(iter(keys[SEARCHED_MAX - 1 : SEARCHED_MAX]), None)
    return rows.filter(pk__gte=oldest) if oldest else rows
