"""Tags: words that jobs are found by. `Job.tags` is what is shown of them, the table `job_tags` what is searched."""

from collections.abc import Iterable, Sequence

from django.db.models import QuerySet

from maintenance.models import Job, JobTag

_LONGEST = 100


def checked(words: Iterable[str]) -> tuple[str, ...]:
    """The same words. Raises ValueError where one is empty, too long, or has blanks at its ends."""
    found = tuple(words)
    for word in found:
        if not word or word != word.strip() or len(word) > _LONGEST:
            raise ValueError(f"{word[:_LONGEST]!r} is no tag: 1 to {_LONGEST} characters, without blanks at its ends")
    return found


def write(jobs: Sequence[Job]) -> None:
    """Make these new jobs searchable: one query for all, none where they have no tags."""
    rows = [JobTag(job_id=job.pk, tag=word) for job in jobs for word in job.tags]
    if rows:
        JobTag.objects.bulk_create(rows)


def jobs_tagged(tag: str) -> QuerySet[Job]:
    """Jobs that have this tag, newest first."""
    # By the tag's own column, whose index has them in this order: SQLite would sort all jobs that have the tag.
    return Job.objects.filter(tag_rows__tag=tag).order_by("-tag_rows__job_id")
