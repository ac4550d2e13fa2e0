"""The master of the workers: it starts every pool, restarts what dies, balances, and tends the ledger while it leads.

Workers are forked from the master, with Django and all job modules loaded once: they share its memory.

    TERM, INT   let the workers finish what they are at, within the drain time, and end
    USR1        load the code anew and replace the workers one by one: a deploy
    USR2, CONT  take no more jobs; go on
"""

import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from django.conf import settings
from django.db import DatabaseError, connections
from django.db.models import Count, Min
from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import masters, pauses, process, queues
from maintenance.masters import Command, State
from maintenance.models import Job
from maintenance.reconciler import Tick
from maintenance.slots import Balance, Slot, slots_of
from maintenance.tables import Pool
from maintenance.worker import make_worker

logger = logging.getLogger(__name__)

# Where a master that loads its code anew leaves its successor, which is itself, the workers it has.
ADOPTED = "RUNWORKERS_ADOPTED"
STEP_SECONDS = 0.2
RECORD_SECONDS = 1.0
SIGNALS = {
    signal.SIGTERM: Command.TERMINATE,
    signal.SIGINT: Command.TERMINATE,
    signal.SIGUSR1: Command.RESTART,
    signal.SIGUSR2: Command.PAUSE,
    signal.SIGCONT: Command.CONTINUE,
}


class Master:
    """Keeps the pools full until it is told to stop."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self.slots = slots_of(pools)
        self.balances = {name: Balance(pool) for name, pool in pools.items()}
        self.state = State.RUNNING
        self._started_at = time.time()
        self._commands: list[Command] = []
        self._to_replace = self._adopt()
        self._record_due = 0.0
        self._tick = Tick(f"{socket.gethostname()}/master-{os.getpid()}")

    def run(self) -> None:
        """Work until told to terminate, then let the workers finish what they are at, within the drain time."""
        process.title("runworkers: master")
        for sig in SIGNALS:
            signal.signal(sig, self._note)
        while self.state is not State.STOPPING:
            self._step()
            time.sleep(STEP_SECONDS)
        self._drain()
        self._tick.resign()
        with suppress(RedisError):
            masters.remove()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._commands.append(SIGNALS[signal.Signals(signum)])

    def _step(self) -> None:
        self._reap()
        if time.monotonic() >= self._record_due:
            self._record_due = time.monotonic() + RECORD_SECONDS
            self._keep_record()
            self._balance()
        while self._commands:
            self._obey(self._commands.pop(0))
        self._replace_one()
        self._fill()
        self._tick()

    # What it is told

    def _obey(self, command: Command) -> None:
        if command is Command.TERMINATE:
            self.state = State.STOPPING
        elif command is Command.RESTART:
            self._load_anew()
        else:
            pause = command is Command.PAUSE
            self.state = State.PAUSED if pause else State.RUNNING
            self._signal(signal.SIGUSR2 if pause else signal.SIGCONT)

    def _load_anew(self) -> NoReturn:
        """Become a new master with the code as it is now. The process stays the same, so its workers stay its own."""
        os.environ[ADOPTED] = json.dumps({slot.label: slot.pid for slot in self.slots if slot.pid})
        connections.close_all()
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line again

    def _adopt(self) -> list[Slot]:
        """Take over the workers of the master that this process was; they run old code and are to be replaced."""
        pids = json.loads(os.environ.pop(ADOPTED, "{}"))
        for slot in self.slots:
            if slot.label in pids:
                slot.filled(pids.pop(slot.label))
        for pid in pids.values():  # of a slot that the new settings have no more
            os.kill(pid, signal.SIGTERM)
        return [slot for slot in self.slots if slot.pid]

    def _replace_one(self) -> None:
        """End the next old worker once the one before has its successor."""
        if not self._to_replace or any(slot.leaving or slot.to_fill() for slot in self.slots):
            return
        self._leave(self._to_replace.pop(0))

    # Its workers

    def _fill(self) -> None:
        empty = [slot for slot in self.slots if slot.to_fill()]
        if not empty:
            return
        mirrored = _mirror()
        # A child's collector would copy what it walks through.
        gc.collect()
        gc.freeze()
        for slot in empty:
            self._start(slot, mirrored)

    def _start(self, slot: Slot, mirrored: bool) -> None:
        # Open connections would be shared with the child.
        connections.close_all()
        queues.forget()
        parent = os.getpid()
        # A signal to the child that came before its own handlers would be noted in the master's list, and lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            _be_worker(slot, parent, paused=self.state is State.PAUSED, mirrored=mirrored)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        slot.filled(pid)

    def _leave(self, slot: Slot) -> None:
        if slot.pid and not slot.leaving:
            slot.leaving = True
            os.kill(slot.pid, signal.SIGTERM)

    def _reap(self) -> None:
        for slot in self.slots:
            if not slot.pid:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                slot.note_death(f"ended with status {os.waitstatus_to_exitcode(status)}")

    def _balance(self) -> None:
        for name, balance in self.balances.items():
            if not balance.pool.balance:
                continue
            with suppress(DatabaseError):
                wanted = balance.step(time.monotonic(), *_load(balance.pool))
                for slot in (slot for slot in self.slots if slot.pool_name == name):
                    slot.wanted = slot.number <= wanted
                    if not slot.wanted:
                        self._leave(slot)

    def _drain(self) -> None:
        self._signal(signal.SIGTERM)
        until = time.monotonic() + settings.WORKERS_DRAIN_SECONDS
        while any(slot.pid for slot in self.slots) and time.monotonic() < until:
            for slot in self.slots:
                if slot.pid and os.waitpid(slot.pid, os.WNOHANG)[0]:
                    slot.pid = 0
            self._tick()
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _signal(self, sig: signal.Signals) -> None:
        for slot in self.slots:
            if slot.pid:
                os.kill(slot.pid, sig)

    # What it says of itself

    def _keep_record(self) -> None:
        with suppress(RedisError):
            masters.write(self.record())
            self._commands += masters.told()

    def record(self) -> masters.Master:
        """What is shown of this master."""
        return masters.Master(
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            state=self.state,
            leads=self._tick.leads,
            pools={name: self._pool_record(name) for name in self.balances},
        )

    def _pool_record(self, name: str) -> dict[str, object]:
        slots = [slot for slot in self.slots if slot.pool_name == name]
        return {
            "workers": [slot.pid for slot in slots if slot.pid],
            "wanted": sum(slot.wanted for slot in slots),
            "crash_loop": any(slot.crash_loop for slot in slots),
        }


def _load(pool: Pool) -> tuple[int, float]:
    """How many jobs wait in a pool's queues that are not paused, and for how many seconds the oldest of them has."""
    served = {queue.value for queue in pool.queues} - set(pauses.paused())
    waiting = Job.objects.filter(status=Job.Status.QUEUED, queue__in=served)
    found = waiting.aggregate(count=Count("pk"), since=Min("pushed_at"))
    oldest = (timezone.now() - found["since"]).total_seconds() if found["since"] else 0.0
    return found["count"], oldest


def _mirror() -> bool:
    """Have Redis know which queues are paused before a worker starts, which does without the database then."""
    try:
        pauses.mirror()
    except (RedisError, DatabaseError):
        return False
    return True


def _be_worker(slot: Slot, parent: int, *, paused: bool, mirrored: bool) -> NoReturn:
    code = 1
    try:
        process.die_with_parent(parent)
        # Ctrl-C reaches a whole process group; the master decides when its workers end.
        os.setpgrp()
        for sig in SIGNALS:
            signal.signal(sig, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        worker = make_worker(
            slot.pool.queues, label=slot.label, memory_mb=slot.pool.memory_mb, paused=paused, mirrored=mirrored
        )
        worker.work(logging_level="WARNING")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        logger.exception("worker %s ends", slot.label)
    finally:
        logging.shutdown()
        os._exit(code)
