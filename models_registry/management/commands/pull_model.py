import sys
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from redis.exceptions import RedisError

from maintenance import roster
from maintenance.output import USAGE, OperatorCommand
from maintenance.tables import Queue
from models_registry import pulls
from models_registry.management.bars import Bars, Lines
from models_registry.models import Pull
from models_registry.pulls_api import PullSerializer

LOOK_SECONDS = 0.5
INTERRUPTED = 130


class Command(OperatorCommand):
    """Looks at the pull's row, which its worker writes every second: that works without Redis and the web process."""

    help = "Have a backend download a model, and show how far it is. Ctrl-C leaves it running."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backend", metavar="BACKEND", nargs="?", help="a backend that manages its models")
        parser.add_argument("model", metavar="MODEL", nargs="?", help="as the backend calls it: llama3.2:3b")
        parser.add_argument("--no-wait", action="store_true", help="only start it")
        parser.add_argument("--cancel", metavar="ID", help="cancel this pull, instead of starting one")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        if options["cancel"]:
            return self._cancel(options)
        if not (options["backend"] and options["model"]):
            raise CommandError("BACKEND and MODEL are needed, or --cancel ID.", returncode=USAGE)
        pull, created = pulls.start(options["backend"], options["model"], None)
        self.audit("pull.start", f"pull:{pull.pk}", backend=pull.backend, model=pull.model)
        if not created:
            self.note(f"{pull.model} is being pulled already.")
        self._note_missing_workers()
        if not options["no_wait"]:
            return self._wait(pull, options)
        self.show(options, PullSerializer(pull).data, [f"Pull {pull.pk} is {pull.status}."])
        return 0

    def _cancel(self, options: dict[str, Any]) -> int:
        pull = Pull.objects.filter(pk=options["cancel"]).first()
        if pull is None:
            raise CommandError(f"There is no pull {options['cancel']!r}.")
        pull = pulls.cancel(pull, None)
        self.audit("pull.cancel", f"pull:{pull.pk}", backend=pull.backend, model=pull.model)
        self.show(options, PullSerializer(pull).data, [f"Pull {pull.pk} is {pull.status}."])
        return 0

    def _wait(self, pull: Pull, options: dict[str, Any]) -> int:
        # With --json what is shown on the way is no result: it goes to stderr, as a log does.
        out = self.stderr if options["json"] else self.stdout
        bars: Bars | Lines = (
            Bars(self._write)
            if sys.stdout.isatty() and not options["json"]
            else Lines(lambda text: out.write(text, style_func=str, ending=""))
        )
        try:
            while pull.status in Pull.UNFINISHED:
                bars.show(pull)
                time.sleep(LOOK_SECONDS)
                pull = self._looked_at(pull)
        except KeyboardInterrupt:
            self.note(f"\nThe pull goes on. To cancel it: manage.py pull_model --cancel {pull.pk}")
            return INTERRUPTED
        if pull.status == Pull.Status.COMPLETED:
            bars.show(pull)
        self.show(options, PullSerializer(pull).data, [_end_in_words(pull)])
        return 0 if pull.status == Pull.Status.COMPLETED else 1

    def _looked_at(self, pull: Pull) -> Pull:
        found = Pull.objects.filter(pk=pull.pk).first()
        if found is None:
            raise CommandError("The pull was forgotten.")
        return found

    def _write(self, text: str) -> None:
        self.stdout.write(text, ending="")
        self.stdout.flush()

    def _note_missing_workers(self) -> None:
        try:
            workers = roster.by_queue(roster.alive())
        except RedisError:
            self.note("Redis does not answer: the pull begins when it is back.")
            return
        if not workers[Queue.DEFAULT]:
            self.note("No worker runs: the pull begins when one does.")


def _end_in_words(pull: Pull) -> str:
    if pull.status == Pull.Status.COMPLETED:
        return f"{pull.model} is there."
    if pull.status == Pull.Status.CANCELLED:
        return f"It was cancelled. {pull.error}".rstrip()
    return f"It failed: {pull.error} ({pull.error_code})"
