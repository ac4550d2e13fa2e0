"""Finding jobs by what an operator has in hand: an id, a job's name, a tag, or words of an error."""

from django.db.models import QuerySet

from maintenance import ledger
from maintenance.console.lists import COUNT_MAX
from maintenance.errors import Invalid
from maintenance.models import Job, JobTag
from maintenance.selection import SEARCHED_MAX, newest

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
        tagged = JobTag.objects.filter(tag=text).order_by("-job_id").values("job_id")
        return rows.filter(pk__in=tagged[: COUNT_MAX + 1])
    return newest(rows).filter(error__icontains=text)


def filter_of(text: str) -> dict[str, str]:
    """The same as a filter of a selection. Raises Invalid for an id, which means one job or a few neighbours."""
    if not text:
        return {}
    if _looks_like_id(text) or _looks_like_id(text.rpartition("-")[0]):
        raise Invalid("An id means one job. Open it, and act on it there.")
    if text in ledger.names():
        return {"name": text}
    return {"tag" if _looks_like_tag(text) else "words": text}
