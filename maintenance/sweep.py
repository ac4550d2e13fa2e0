"""A clean-up under way: how far it may go, and what it has done. One bad item does not stop the rest."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Model, QuerySet

logger = logging.getLogger(__name__)

BATCH = 500
FAILURES_SHOWN = 20

Tell = Callable[[int, int, str], object]


def silent(done: int, total: int, note: str) -> None:
    """For those who want no progress."""


@dataclass
class Tally:
    """What became of one section's items. `bytes` are those of files; `kept` are old files that are needed or open."""

    removed: int = 0
    bytes: int = 0
    kept: int = 0
    errors: int = 0


class Sweep:
    """`seconds` is how long it may take: what is left then waits for the next time. None: as long as it needs."""

    def __init__(self, sections: Sequence[str], *, dry_run: bool, seconds: float | None, tell: Tell) -> None:
        self.dry_run = dry_run
        self.unfinished = False
        self.broken: list[str] = []
        self._tallies = {name: Tally() for name in sections}
        self._failures: list[dict[str, str]] = []
        self._until = None if seconds is None else time.monotonic() + seconds
        self._tell = tell
        self._section = ""
        self._done = -1

    def begin(self, section: str) -> None:
        self._section = section
        self._done += 1
        self._say()

    def count(self, removed: int, *, size: int = 0) -> None:
        self._tally.removed += removed
        self._tally.bytes += size
        self._say()

    def keep(self, number: int) -> None:
        """These are needed."""
        self._tally.kept += number

    def failed(self, item: str, error: Exception) -> None:
        """This one could not be removed."""
        self._tally.errors += 1
        reason = getattr(error, "strerror", None) or type(error).__name__
        logger.warning("%s: %s could not be removed: %s", self._section, item, reason)
        if len(self._failures) < FAILURES_SHOWN:
            self._failures.append({"section": self._section, "item": item, "error": reason})

    def broke_off(self, error: Exception) -> None:
        """The whole section could not go on."""
        logger.error("the clean-up of %s broke off", self._section, exc_info=error)
        self.broken.append(self._section)

    @property
    def over(self) -> bool:
        """Whether the time is over, in which case something is left."""
        if self._until is not None and time.monotonic() > self._until:
            self.unfinished = True
        return self.unfinished

    def report(self) -> dict[str, Any]:
        """`{dry_run, removed, bytes, kept, errors, unfinished, broken, sections, failures}`.

        The four numbers are sums; `sections` has them by name. `broken` names the sections that could not go on.
        `failures` are the first errors: `{section, item, error}`. In a dry run `removed` is what would be.
        """
        sections = {name: asdict(tally) for name, tally in self._tallies.items()}
        sums = {field: sum(tally[field] for tally in sections.values()) for field in asdict(Tally())}
        return {
            "dry_run": self.dry_run,
            **sums,
            "unfinished": self.unfinished,
            "broken": self.broken,
            "sections": sections,
            "failures": self._failures,
        }

    @property
    def _tally(self) -> Tally:
        return self._tallies[self._section]

    def _say(self) -> None:
        words = self._section.replace("_", " ")
        self._tell(self._done, len(self._tallies), f"{words}: {self._tally.removed}" if self._tally.removed else words)


def remove_rows(sweep: Sweep, rows: QuerySet[Any, Any]) -> None:
    """Delete these rows in batches. One that is renewed meanwhile, so that it is none of these any more, stays."""
    if sweep.dry_run:
        sweep.count(rows.count())
        return
    model: type[Model] = rows.model
    while not sweep.over:
        batch = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if not batch:
            return
        deleted = rows.order_by().filter(pk__in=batch).delete()[1]
        sweep.count(deleted.get(model._meta.label, 0))
