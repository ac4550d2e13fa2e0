"""What the leader does every few seconds: bring Redis in line with the ledger, and end what its worker left behind."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import connections
from django.utils import timezone
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from maintenance import attempts, leadership, leftovers, outbox
from maintenance.attempts import Ending
from maintenance.ledger import Failure
from maintenance.models import Attempt, Job

logger = logging.getLogger(__name__)


def end_expired() -> int:
    """End executions whose lease ran out: their process is dead, frozen or cut off."""
    expired = Job.objects.filter(status=Job.Status.RUNNING, lease_expires_at__lt=timezone.now())
    ending = Ending(
        outcome=Attempt.Outcome.LOST,
        failure=Failure("worker_lost", "The worker died."),
        detail=f"The lease was not renewed for {settings.LEASE_SECONDS} s.",
    )
    return sum(attempts.lose(pk, token, ending) for pk, token in expired.values_list("pk", "lease_token")[:500])


def reconcile() -> None:
    """The ledger's part of a pass. The database's work first: it must not wait for a Redis that is away."""
    end_expired()
    outbox.relay()
    if settings.QUEUE_CONNECTION != "sync":  # which has no Redis
        outbox.recover_lost()
        leftovers.sweep()


class Tick:
    """One process's turn at leading. Call it often; it acts at most every `RECONCILE_SECONDS`, and only as leader.

    `holder` is its name; without one it leaves the lead to others.
    """

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.leads = False
        self._next = 0.0
        self._last = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if not self.holder or now < self._next:
            return
        self._next = now + settings.RECONCILE_SECONDS
        try:
            self._act(now)
        except Exception:
            logger.exception("a pass of the reconciler failed; the next one tries again")
        finally:
            connections.close_all()

    def _act(self, now: float) -> None:
        self.leads = leadership.lead(self.holder)
        if self.leads:
            if self._overslept():
                self._forgive()
            for path in settings.RECONCILERS:
                _guarded(import_string(path))
        self._last = time.time()

    def _overslept(self) -> bool:
        """The machine was suspended or this process frozen: then every worker was, and nobody could renew."""
        return bool(self._last) and time.time() - self._last > settings.RECONCILE_SECONDS + 10

    def _forgive(self) -> None:
        grace = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
        Job.objects.filter(status=Job.Status.RUNNING, lease_expires_at__lt=grace).update(lease_expires_at=grace)

    def resign(self) -> None:
        if self.leads:
            leadership.resign(self.holder)
            connections.close_all()


def _guarded(step: Callable[[], object]) -> None:
    """One step that fails must not keep the others from being taken."""
    try:
        step()
    except RedisError as error:
        logger.warning("Redis is away (%s): the reconciler goes on with the next pass", type(error).__name__)
    except Exception:
        logger.exception("a step of the reconciler failed; the next pass tries it again")
