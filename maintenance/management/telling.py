"""Commands that tell the masters of the workers what to do, on all hosts."""

import time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from maintenance import masters
from maintenance.masters import Master
from maintenance.output import OperatorCommand, counted

NONE_RUNNING = 2
STEP_SECONDS = 0.2


class TellingCommand(OperatorCommand):
    """Says one thing to every master. `state` is what each is in once it has done it; None: it is gone."""

    command: masters.Command
    state: masters.State | None
    told = ""
    done = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--wait", action="store_true", help="until it is done")
        super().add_arguments(parser)

    def wait_seconds(self) -> float:
        """How long `--wait` waits at most."""
        return 2.0 * masters.GONE_SECONDS

    def act(self, options: dict[str, Any]) -> int:
        running = masters.everyone() if settings.QUEUE_CONNECTION != "sync" else []
        if running:
            masters.tell(self.command)
        else:
            self.note("No master of workers runs. A worker of `rqworker` is stopped by SIGTERM.")
            return NONE_RUNNING
        self.audit(f"workers.{self.command}", "workers", masters=[master.key for master in running])
        left = self._wait(running) if options["wait"] else running
        value = {
            "masters": [{"host": master.host, "pid": master.pid} for master in running],
            "done": not left if options["wait"] else None,
        }
        words = self.told if not options["wait"] else self.done if not left else f"{len(left)} have not done it yet"
        self.show(options, value, [f"{counted(len(running), 'master')} of workers: {words}."])
        return 1 if options["wait"] and left else 0

    def _wait(self, running: list[Master]) -> list[Master]:
        """Those that have not done it when the time is over."""
        keys, until = {master.key for master in running}, time.monotonic() + self.wait_seconds()
        while left := [one for one in masters.everyone() if one.key in keys and one.state != self.state]:
            if time.monotonic() > until:
                break
            time.sleep(STEP_SECONDS)
        return left
